"""Unpack zip files from others safely, skipping files that already exist."""

import shutil
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from mmconvnext.errors import UserError, first_line

# Images do not shrink in a zip, and json shrinks about fivefold; an archive that unpacks to more
# than this factor is made to fill the disk.
_MOST_GROWTH = 50
_LONGEST = 255  # bytes of a name on most file systems
_CHUNK = 1 << 20

# Called with (bytes done, total bytes).
Report = Callable[[int, int], None]


@contextmanager
def open_archive(path: Path) -> Iterator[ZipFile]:
    """Open a zip file and check that its table of contents is harmless; unpack nothing.

    Raises:
        UserError: the file does not exist, is not a complete zip file, or could do harm: members
            outside its folder, links, more bytes than it could contain.
    """
    if not path.is_file():
        raise UserError(f'{path}: expected a zip file, found none; correct the path')
    try:
        archive = ZipFile(path)
    except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f'{path}: expected a complete zip file ({first_line(error)}); it may be cut short or '
            'a web page: download it again'
        ) from error
    with archive:
        problem = next(_problems(path, archive.infolist()), None)
        if problem:
            raise UserError(
                f'{path}: refused, nothing was written: {problem}; download the archive from its '
                'publisher'
            )
        yield archive


def unpack(path: Path, root: Path, *, folder: str, report: Report | None = None) -> int:
    """Unpack a zip file's members below ``folder`` to ``root``, skipping existing files.

    A file that exists with the size in the archive's table is not changed. Each file is written
    completely or not at all, and checked against the archive's checksum, so that a second call
    completes an interrupted one. Members outside ``folder`` (``__MACOSX/``) are ignored. Returns
    the number of files written.

    Raises:
        UserError: like :func:`open_archive`, before anything is written; or the disk is too small,
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
                    'archive and download it again; files unpacked so far are kept'
                ) from error
            except OSError as error:
                raise UserError(
                    f'{root / member.filename}: could not be written ({first_line(error)}); check '
                    'free space and permissions'
                ) from error
    return len(missing)


def require_space(folder: Path, size: int) -> None:
    """Raise a UserError unless ``size`` bytes fit on the disk of ``folder``, even a missing one."""
    place = folder.absolute()
    there = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise UserError(
            f'{folder}: expected {size / 1e9:.1f} GB free on its disk, found {free / 1e9:.1f} GB; '
            'free space, or choose another folder with --data-root'
        )


def _is_there(member: ZipInfo, root: Path) -> bool:
    target = root / member.filename
    return target.is_file() and target.stat().st_size == member.file_size


def _write(archive: ZipFile, member: ZipInfo, target: Path) -> Iterator[int]:
    """Write one member; yield the number of bytes of each step."""
    partial = target.with_name(f'{target.name}.part')
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(member) as source, partial.open('wb') as file:
            # Reading stops at the size in the table, and checks the checksum of the bytes read.
            while chunk := source.read(_CHUNK):
                file.write(chunk)
                yield len(chunk)
        if partial.stat().st_size != member.file_size:
            raise BadZipFile(f'expected {member.file_size} bytes, got {partial.stat().st_size}')
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _problems(path: Path, members: Sequence[ZipInfo]) -> Iterator[str]:
    """Yield what is harmful in an archive."""
    seen = set()
    for member in members:
        harm = _harm(member) or ('occurs twice' if member.filename in seen else '')
        if harm:
            yield f'{member.filename!r} in it {harm}'
        seen.add(member.filename)
    size, unpacked = path.stat().st_size, sum(member.file_size for member in members)
    if unpacked > _MOST_GROWTH * size:
        yield f'{size} bytes claim to unpack to {unpacked}'


def _harm(member: ZipInfo) -> str:
    """Return what is wrong with a member, or ''."""
    # The name in the archive; zipfile cuts it at a zero byte.
    name = member.orig_filename
    parts = PurePosixPath(name).parts
    if not parts or name.startswith('/') or any(sign in name for sign in '\\:\0'):
        return 'has an absolute or a foreign path'
    if any(len(part.encode()) > _LONGEST for part in parts):
        return 'has a name that file systems do not allow'
    if '..' in parts:
        return 'leaves its folder'
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return 'is not a file (a link or a device)'
    if member.flag_bits & 1:
        return 'is encrypted'
    return ''
