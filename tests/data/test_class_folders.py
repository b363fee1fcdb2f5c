from pathlib import Path

import pytest
from mmengine.config import Config

from mmconvnext.data.checks import require_data
from mmconvnext.errors import UserError


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for split in ('train', 'val'):
        for name in ('cat', 'dog', 'owl'):
            (tmp_path / split / name).mkdir(parents=True)
    (tmp_path / 'names.txt').write_text('cat a\ndog b\nowl c\n')
    loaders = {
        f'{split}_dataloader': dict(
            dataset=dict(
                type='mmconvnext.ImageFolder',
                data_root=str(tmp_path),
                data_prefix=dict(img_path=split),
            )
        )
        for split in ('train', 'val')
    }
    return Config(dict(model=dict(type='mmconvnext.ImageClassifier', num_classes=3), **loaders))


def test_the_same_classes_pass(config: Config) -> None:
    require_data(config, 'train', 'val')


def test_a_class_that_one_split_lacks_would_shift_labels(config: Config, tmp_path: Path) -> None:
    (tmp_path / 'val' / 'cat').rmdir()
    with pytest.raises(UserError, match=r'same class folders in train and val, got 1 .*: cat; add'):
        require_data(config, 'train', 'val')
    for split in ('train', 'val'):
        config[f'{split}_dataloader'].dataset.class_names = str(tmp_path / 'names.txt')
    require_data(config, 'train', 'val')  # labels come from the file


def test_the_model_has_as_many_classes(config: Config) -> None:
    config.model.num_classes = 1000
    with pytest.raises(UserError, match=r'expected 1000 class folders .* found 3 in val; set --c'):
        require_data(config, 'val')


def test_classes_of_a_file_are_held_against_the_model(config: Config, tmp_path: Path) -> None:
    (tmp_path / 'names.txt').write_text('cat a\ndog b\nowl c\nyak\td\n')
    config.train_dataloader.dataset.class_names = 'names.txt'
    with pytest.raises(UserError, match=r'expected 3 class folders .* found 4 in train'):
        require_data(config, 'train')
    config.model.num_classes = 4
    with pytest.raises(UserError, match=r'same class folders in train and val, got 1 .*: yak'):
        require_data(config, 'train', 'val')


def test_fewer_pictures_than_a_batch_leave_nothing_to_train_on(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (tmp_path / 'train' / 'owl' / f'{number}.jpg').touch()
    config.train_dataloader.update(batch_size=4, drop_last=True)
    require_data(config, 'train')
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(UserError, match=r'expected 8 images or more .* found 4 in .*batch_size'):
        require_data(config, 'train')
    config.train_dataloader.drop_last = False
    require_data(config, 'train')
