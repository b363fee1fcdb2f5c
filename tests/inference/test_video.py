from pathlib import Path

import numpy as np
import pytest

from mmconvnext.errors import UserError
from mmconvnext.inference.video import VideoReader, VideoWriter


def write_video(path: Path, frames: int = 6, **options: object) -> Path:
    """A grey video that gets brighter; its sides are odd."""
    with VideoWriter(path, rate=5.0, **options) as writer:
        for i in range(frames):
            writer.write(np.full((33, 49, 3), 40 * i, np.uint8))
    return writer.path


def test_what_is_written_is_read_frame_by_frame(tmp_path) -> None:
    path = write_video(tmp_path / 'a' / 'film')
    assert path == tmp_path / 'a' / 'film.mp4'
    assert list(path.parent.iterdir()) == [path]
    reader = VideoReader(path)
    assert (reader.announced, reader.rate) == (6, 5.0)
    frames = list(reader)
    assert [frame.shape for frame in frames] == [(34, 50, 3)] * 6
    assert [round(float(frame.mean())) for frame in frames] == pytest.approx(
        [40 * i for i in range(6)], abs=6
    )
    assert reader.shortfall() is None


def test_without_a_codec_the_frames_are_png(tmp_path) -> None:
    path = write_video(tmp_path / 'film', frames=2, codecs=(('.mp4', 'none'),))
    assert path == tmp_path / 'film.frames'
    assert sorted(p.name for p in path.iterdir()) == ['000000.png', '000001.png']
    assert list(tmp_path.iterdir()) == [path]


def test_the_next_codec_is_taken_where_one_is_not_there(tmp_path) -> None:
    path = write_video(tmp_path / 'film', frames=2, codecs=(('.mp4', 'none'), ('.avi', 'MJPG')))
    assert [p.name for p in tmp_path.iterdir()] == ['film.avi']
    assert len(list(VideoReader(path))) == 2


def test_nothing_is_left_after_an_error(tmp_path) -> None:
    def break_off() -> None:
        with VideoWriter(tmp_path / 'film', 5.0) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_breaks_off_says_where(tmp_path) -> None:
    noise = np.random.default_rng(0)
    with VideoWriter(tmp_path / 'film', 5.0, codecs=(('.avi', 'MJPG'),)) as writer:
        for _ in range(6):
            writer.write(noise.integers(0, 255, (96, 96, 3), np.uint8))
    content = writer.path.read_bytes()
    writer.path.write_bytes(content[: len(content) * 6 // 10])
    reader = VideoReader(writer.path)
    read = len(list(reader))
    assert 0 < read < 6
    assert reader.shortfall() == f'{read} of 6 frames could be read'


@pytest.mark.parametrize('content', [b'', b'no video'])
def test_what_is_no_video_is_told(content, tmp_path) -> None:
    path = tmp_path / 'a.mp4'
    path.write_bytes(content)
    with pytest.raises(UserError, match='expected a video that OpenCV can read'):
        VideoReader(path)
