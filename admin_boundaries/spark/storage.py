"""Files on a disk, or on whatever file system or object store Spark knows."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any, Protocol

from ingest.errors import TargetUnavailable

OBJECT_STORES = ("s3a", "s3", "gs", "abfs", "abfss", "wasb", "wasbs", "oss", "cosn", "obs")


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
        When the session is one of Spark Connect, through which nothing but a local path can be reached.
    """
    if is_local(root):
        return LocalStorage(Path(re.sub(r"^file:/+", "/", root)))
    if is_remote(spark):
        raise TargetUnavailable(
            f"{root} cannot be reached through Spark Connect, which reads and writes tables only.",
            "Run without SPARK_REMOTE, with SPARK_MASTER, or keep the marts in a folder that all machines share.",
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
