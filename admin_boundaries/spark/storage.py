"""Files on a disk, or on whatever file system or object store Spark knows; by Spark Connect, on a disk or on S3."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ingest.errors import TargetUnavailable

OBJECT_STORES = ("s3a", "s3", "gs", "abfs", "abfss", "wasb", "wasbs", "oss", "cosn", "obs")
S3 = ("s3a:", "s3:")


class Storage(Protocol):
    """A folder, in which paths are relative and have ``/`` between their parts."""

    def at(self, path: str) -> str:
        """Return the address of a path, as Spark reads it."""
        ...

    def read(self, path: str) -> bytes | None:
        """Return what is in a file; None if there is none."""
        ...

    def put(self, path: str, content: bytes) -> None:
        """Put a file in the place of another one, if there is one: a reader finds either, and never a part of one."""
        ...

    def delete(self, path: str) -> None:
        """Delete a folder with all that is in it, if there is one."""
        ...

    def folders(self, path: str) -> list[str]:
        """Return the names of the folders in one."""
        ...


def storage(root: str, spark: Any) -> Storage:
    """Return the files below an address.

    Parameters
    ----------
    root : str
        A path, or an address with a scheme such as ``s3a://bucket/folder``.
    spark : SparkSession
        What knows how to reach that address.

    Raises
    ------
    TargetUnavailable
        When the session is one of Spark Connect, which has no interface to files, and the address is none of S3.
    """
    if is_local(root):
        return LocalStorage(Path(re.sub(r"^file:/+", "/", root)))
    if is_remote(spark):
        if root.startswith(S3):
            return ArrowStorage(root.rstrip("/"))
        raise TargetUnavailable(
            f"{root} cannot be reached through Spark Connect, which reads and writes tables only.",
            "Run with SPARK_MASTER instead; or keep the marts on S3, or in a folder that all machines share.",
        )
    return HadoopStorage(root.rstrip("/"), spark)


def is_remote(spark: Any) -> bool:
    """Whether a session is one of Spark Connect."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def is_local(root: str) -> bool:
    """Whether an address is a path of this machine."""
    scheme = re.match(r"([a-z][a-z0-9+.-]*):/", root)
    return scheme is None or scheme[1] == "file"


class LocalStorage:
    """See `Storage`: a folder of this machine, or one that it shares with others."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def at(self, path: str) -> str:
        """See `Storage`."""
        return (self._root / path).absolute().as_uri()

    def read(self, path: str) -> bytes | None:
        """See `Storage`."""
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, path: str, content: bytes) -> None:
        """See `Storage`."""
        draft = self._root / f"{path}.{secrets.token_hex(4)}"
        draft.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._root / path)

    def delete(self, path: str) -> None:
        """See `Storage`."""
        shutil.rmtree(self._root / path, ignore_errors=True)

    def folders(self, path: str) -> list[str]:
        """See `Storage`."""
        folder = self._root / path
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


class ArrowStorage:
    """See `Storage`: on S3 by this process itself, which finds its keys where AWS' own programs do.

    Parameters
    ----------
    root : str
        The address.
    files : pyarrow.fs.FileSystem, optional
        What has its files instead, at paths that begin with ``root``.
    """

    def __init__(self, root: str, files: Any = None) -> None:
        from pyarrow.fs import FileSystem

        self._root, self._files, self._base = root, files, root
        if files is None:
            try:
                self._files, self._base = FileSystem.from_uri(re.sub("^s3a:", "s3:", root))
            except OSError as error:
                raise _unreachable(root, error) from error

    def at(self, path: str) -> str:
        """See `Storage`."""
        return f"{self._root}/{path}"

    def read(self, path: str) -> bytes | None:
        """See `Storage`."""
        try:
            with self._files.open_input_stream(self._place(path)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreachable(self.at(path), error) from error

    def put(self, path: str, content: bytes) -> None:
        """See `Storage`: an object is there once all of it has been sent."""
        with self._files.open_output_stream(self._place(path)) as stream:
            stream.write(content)

    def delete(self, path: str) -> None:
        """See `Storage`."""
        with suppress(FileNotFoundError):
            self._files.delete_dir(self._place(path))

    def folders(self, path: str) -> list[str]:
        """See `Storage`."""
        from pyarrow.fs import FileSelector, FileType

        entries = self._files.get_file_info(FileSelector(self._place(path), allow_not_found=True))
        return sorted(entry.base_name for entry in entries if entry.type == FileType.Directory)

    def _place(self, path: str) -> str:
        return f"{self._base}/{path}"


def _unreachable(address: str, error: OSError) -> TargetUnavailable:
    return TargetUnavailable(
        f"{address} cannot be read: {str(error).strip().removesuffix('.')}.",
        "Is AWS_REGION set, or AWS_ENDPOINT_URL for another store than AWS? This machine needs keys as well as Spark.",
    )


class HadoopStorage:
    """See `Storage`: by Hadoop's file systems, with whatever keys Spark's configuration has for them."""

    def __init__(self, root: str, spark: Any) -> None:
        self._root = root
        self._jvm = spark._jvm
        self._configuration = spark._jsc.hadoopConfiguration()

    def at(self, path: str) -> str:
        """See `Storage`."""
        return f"{self._root}/{path}"

    def read(self, path: str) -> bytes | None:
        """See `Storage`."""
        place, files = self._place(path)
        if not files.exists(place):
            return None
        stream = files.open(place)
        try:
            return bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream))
        finally:
            stream.close()

    def put(self, path: str, content: bytes) -> None:
        """See `Storage`: an object is there once all of it has been sent, and a file once it has its name."""
        if self._root.startswith(tuple(f"{scheme}:" for scheme in OBJECT_STORES)):
            self._write(path, content)
            return
        draft = f"{path}.{secrets.token_hex(4)}"
        self._write(draft, content)
        names = self._jvm.org.apache.hadoop.fs
        overwrite = self._jvm.org.apache.spark.api.python.PythonUtils.toArray  # varargs of an enumeration
        options = overwrite([names.Options.Rename.OVERWRITE])
        context = names.FileContext.getFileContext(self._place(path)[0].toUri(), self._configuration)
        context.rename(self._place(draft)[0], self._place(path)[0], options)

    def delete(self, path: str) -> None:
        """See `Storage`."""
        place, files = self._place(path)
        files.delete(place, True)

    def folders(self, path: str) -> list[str]:
        """See `Storage`."""
        place, files = self._place(path)
        if not files.exists(place):
            return []
        return sorted(entry.getPath().getName() for entry in files.listStatus(place) if entry.isDirectory())

    def _place(self, path: str) -> tuple[Any, Any]:
        place = self._jvm.org.apache.hadoop.fs.Path(self.at(path))
        return place, place.getFileSystem(self._configuration)

    def _write(self, path: str, content: bytes) -> None:
        place, files = self._place(path)
        stream = files.create(place, True)
        stream.write(bytearray(content))
        stream.close()  # only now an object store has it; what fails before leaves the old one
