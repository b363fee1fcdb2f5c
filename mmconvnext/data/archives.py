"""Unpacking zip files that somebody else made: safely, and only what is not there yet."""

import shutil
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from mmconvnext.errors import UserError, first_line

# Images do not shrink in a zip and json does about fivefold; what claims to grow more than this
# is made to fill the disk.
_MOST_GROWTH = 50
_LONGEST = 255  # bytes of a name, on most disks
_CHUNK = 1 << 20

# Called with (bytes done, bytes in all).
Report = Callable[[int, int], None]


@contextmanager
def open_archive(path: Path) -> Iterator[ZipFile]:
    """A zip file whose table of contents was read and is harmless; nothing is unpacked.

    Raises:
        UserError: there is no such file, it is no zip file or an incomplete one, or it is made to
            do harm: members outside of its folder, links, more bytes than it could hold.
    """
    if not path.is_file():
        raise UserError(f'{path}: expected a zip file, found none there')
    try:
        archive = ZipFile(path)
    except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f'{path}: expected a complete zip file ({first_line(error)}); it may be cut short or '
            'a web page: fetch it again'
        ) from error
    with archive:
        problem = next(_problems(path, archive.infolist()), None)
        if problem:
            raise UserError(
                f'{path}: refused, nothing was written: {problem}; fetch the archive from its '
                'publisher'
            )
        yield archive


def unpack(path: Path, root: Path, *, folder: str, report: Report | None = None) -> int:
    """Write what a zip file has below ``folder`` to ``root``, where it is not there yet.

    A file that is there in the size that the archive's table says is left as it is. Each appears
    complete or not at all, checked against the archive's checksum; so an interrupted call is
    completed by another one. Members outside of ``folder`` (``__MACOSX/``) are left aside. Returns
    the number of files written.

    Raises:
        UserError: as :func:`open_archive`, before anything is written; or the disk is too small,
            or a member is broken.
    """
    with open_archive(path) as archive:
        missing = [
            member
            for member in archive.infolist()
            if member.filename.startswith(f'{folder}/')
            and not (member.is_dir() or _is_there(member, root))
        ]
        total = sum(member.file_size for member in missing)
        require_space(root, total)
        done = 0
        for member in missing:
            try:
                for size in _write(archive, member, root / member.filename):
                    done += size
                    if report:
                        report(done, total)
            except (BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                raise UserError(
                    f'{path}: {member.filename} in it is broken ({first_line(error)}); remove the '
                    'archive and fetch it again, what was unpacked so far stays'
                ) from error
            except OSError as error:
                raise UserError(
                    f'{root / member.filename}: could not be written ({first_line(error)}); look '
                    'at free space and rights'
                ) from error
    return len(missing)


def require_space(folder: Path, size: int) -> None:
    """Raise a UserError unless ``size`` bytes fit where ``folder`` is or will be."""
    place = folder.absolute()
    there = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise UserError(
            f'{folder}: expected {size / 1e9:.1f} GB free on its disk, found {free / 1e9:.1f} GB; '
            'make room, or name another folder with --data-root'
        )


def _is_there(member: ZipInfo, root: Path) -> bool:
    target = root / member.filename
    return target.is_file() and target.stat().st_size == member.file_size


def _write(archive: ZipFile, member: ZipInfo, target: Path) -> Iterator[int]:
    """Writes one member; yields how many bytes came with each step."""
    partial = target.with_name(f'{target.name}.part')
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(member) as source, partial.open('wb') as file:
            # Reading ends at the size that the table says, and checks the sum of what it gave.
            while chunk := source.read(_CHUNK):
                file.write(chunk)
                yield len(chunk)
        if partial.stat().st_size != member.file_size:
            raise BadZipFile(f'expected {member.file_size} bytes, got {partial.stat().st_size}')
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _problems(path: Path, members: Sequence[ZipInfo]) -> Iterator[str]:
    """What is harmful in an archive."""
    seen = set()
    for member in members:
        harm = _harm(member) or ('comes twice' if member.filename in seen else '')
        if harm:
            yield f'{member.filename!r} in it {harm}'
        seen.add(member.filename)
    size, unpacked = path.stat().st_size, sum(member.file_size for member in members)
    if unpacked > _MOST_GROWTH * size:
        yield f'{size} bytes claim to unpack to {unpacked}'


def _harm(member: ZipInfo) -> str:
    """What is wrong with a member, or ''."""
    # As it stands in the archive; zipfile cuts it at a zero byte.
    name = member.orig_filename
    parts = PurePosixPath(name).parts
    if not parts or name.startswith('/') or any(sign in name for sign in '\\:\0'):
        return 'has an absolute or a foreign path'
    if any(len(part.encode()) > _LONGEST for part in parts):
        return 'has a name that no disk takes'
    if '..' in parts:
        return 'leaves its folder'
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return 'is no file (a link or a device)'
    if member.flag_bits & 1:
        return 'is encrypted'
    return ''
