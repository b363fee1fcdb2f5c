import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmconvnext.errors import UserError
from mmconvnext.inference.pipeline import Pipeline
from tests.inference.conftest import DETECTION, SEGMENTATION


@pytest.fixture(scope='module')
def pipeline() -> Pipeline:
    return Pipeline(Config.fromfile(SEGMENTATION))


@pytest.fixture
def picture() -> Image.Image:
    """Left half red, right half green: 40 wide, 20 high."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0] = pixels[:, 20:, 1] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'P', 'L', '1', 'CMYK'])
def test_pictures_of_every_mode_are_loaded_as_three_channels(
    mode, pipeline, picture, tmp_path
) -> None:
    path = tmp_path / ('a.tif' if mode == 'CMYK' else 'a.png')
    picture.convert(mode).save(path)
    image = pipeline.load(path)
    assert image.shape == (20, 40, 3)
    assert image.dtype == np.uint8
    if mode not in ('L', '1'):
        assert image[10, 5].argmax() == 2
        assert image[10, 35].argmax() == 1


def test_sixteen_bits_and_rotation_are_understood(pipeline, picture, tmp_path) -> None:
    path = tmp_path / 'deep.png'
    cv2.imwrite(str(path), np.full((20, 40), 200 * 257, np.uint16))
    assert (pipeline.load(path) == 200).all()
    rotated = Image.Exif()
    rotated[0x112] = 6  # a quarter turn clockwise brings it upright
    picture.save(tmp_path / 'a.jpg', exif=rotated)
    image = pipeline.load(tmp_path / 'a.jpg')
    assert image.shape == (40, 20, 3)
    assert image[5, 10].argmax() == 2, 'red is above'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'a.jpg: is empty'),
        (b'not an image', 'not an image that OpenCV reads, or is cut short'),
        ('cut', 'not an image that OpenCV reads, or is cut short'),
        (None, r'could not be opened \(No such file'),
    ],
)
def test_what_is_no_picture_is_told(content, message, pipeline, tmp_path) -> None:
    path = tmp_path / 'a.jpg'
    if content == 'cut':
        noise = np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)
        content = cv2.imencode('.jpg', noise)[1].tobytes()[:3000]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        pipeline.load(path)


@pytest.mark.parametrize('config', [SEGMENTATION, DETECTION])
def test_a_batch_of_one_without_annotations(config) -> None:
    pipeline = Pipeline(Config.fromfile(config))
    batch = pipeline.prepare(np.zeros((30, 60, 3), np.uint8))
    (sample,) = batch['data_samples']
    assert sample.ori_shape == (30, 60)
    assert batch['inputs'][0].shape == ((3, 30, 60) if config == SEGMENTATION else (3, 80, 160))


def test_the_config_s_loading_options_are_kept() -> None:
    config = Config.fromfile(SEGMENTATION)
    config.test_dataloader.dataset.pipeline[0].update(color_type='grayscale', to_float32=True)
    pipeline = Pipeline(config)
    path = SEGMENTATION.parents[1] / 'docs' / 'demo.png'
    assert pipeline.load(path).ndim == 2
    assert pipeline.prepare(np.zeros((8, 8, 3), np.uint8))['inputs'][0].dtype.is_floating_point


def test_a_pipeline_that_does_not_begin_with_loading_is_refused() -> None:
    config = Config.fromfile(SEGMENTATION)
    config.test_dataloader.dataset.pipeline = config.test_dataloader.dataset.pipeline[1:]
    with pytest.raises(UserError, match=r'begin with LoadImageFromFile, got .*LoadAnnotations'):
        Pipeline(config)
    with pytest.raises(UserError, match='got none'):
        Pipeline(Config(dict(default_scope='mmseg')))


def test_a_picture_of_which_resizing_leaves_nothing_is_named() -> None:
    pipeline = Pipeline(Config.fromfile(DETECTION))
    with pytest.raises(UserError, match='fails on an image of 500 × 1 pixels'):
        pipeline.prepare(np.zeros((1, 500, 3), np.uint8))
