"""A session of Spark: on this machine, on a cluster (`SPARK_MASTER`), or by Spark Connect (`SPARK_REMOTE`)."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from admin_boundaries.spark.refusals import of_spark
from ingest.errors import TargetUnavailable
from ingest.settings import Spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DOCS = "docs/spark.md says how."
PATIENCE_SECONDS = 5
PORTS = {"spark": 7077, "sc": 15002}
# What a job of ours relies on, whatever the cluster's own settings are.
NEEDED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",  # a file may have a column Lon beside lon
    "spark.python.worker.reuse": "true",  # each worker opens the index once
    "spark.sql.execution.arrow.useLargeVarTypes": "false",
}
# What may be set in another way, as in spark-defaults.conf or PYSPARK_SUBMIT_ARGS.
PREFERRED = {"spark.ui.enabled": "false", "spark.sql.execution.arrow.maxRecordsPerBatch": str(1 << 16)}

# Prints a page of Java for each path that is a pattern, or is not there yet.
NOISY = "org.apache.spark.sql.execution.streaming.FileStreamSink"


@contextmanager
def spark_session(where: Spark, name: str = "admin-boundaries") -> Iterator[SparkSession]:
    """Open a session; it ends with the block.

    Parameters
    ----------
    where : Spark
        The settings.
    name : str
        What the cluster calls the application.

    Yields
    ------
    SparkSession
        Its time zone is UTC, and letter case tells columns apart.

    Raises
    ------
    TargetUnavailable
        When there is no pyspark or no Java, or the cluster does not answer.
    """
    try:
        import pyspark  # noqa: F401
    except ImportError as error:
        raise TargetUnavailable(
            "Spark is not installed.", f"Run `make spark`, or `pip install 'admin-boundaries[spark]'`: {DOCS}"
        ) from error
    require_answer(where.remote or where.master)
    with of_spark(where.remote or where.master):
        session = _remote(where) if where.remote else _of_this_process(where, name)
    try:
        yield session
    finally:
        session.stop()


def _remote(where: Spark) -> SparkSession:
    from pyspark.sql import SparkSession

    session = SparkSession.builder.remote(where.remote).getOrCreate()
    for key, value in NEEDED.items():
        if session.conf.isModifiable(key):
            session.conf.set(key, value)
    return session


def _of_this_process(where: Spark, name: str) -> SparkSession:
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    SparkContext._ensure_initialized()  # only Java reads spark-defaults.conf
    conf = SparkConf()
    if where.master or not conf.contains("spark.master"):
        conf.setMaster(where.master or "local[*]")
    for key, value in PREFERRED.items():
        conf.setIfMissing(key, value)
    conf.set("spark.ui.showConsoleProgress", str(sys.stderr.isatty()).lower())
    for key, value in NEEDED.items():
        conf.set(key, value)
    session = SparkSession.builder.appName(name).config(conf=conf).getOrCreate()
    context: Any = session.sparkContext
    context.pythonExec = where.python or conf.get("spark.pyspark.python", sys.executable)
    log4j = context._jvm.org.apache.logging.log4j
    log4j.core.config.Configurator.setLevel(NOISY, log4j.Level.ERROR)
    return session


def require_answer(address: str) -> None:
    """Refuse a server that does not listen: Spark itself would try for a minute, and Spark Connect for ten."""
    if urlsplit(address).scheme not in PORTS:
        return
    servers = address.partition("://")[2].partition("/")[0].split(",")
    faults = []
    for server in servers:
        host, _, port = server.rpartition(":") if ":" in server else (server, "", "")
        try:
            where = (host.strip("[]"), int(port or PORTS[urlsplit(address).scheme]))
            socket.create_connection(where, PATIENCE_SECONDS).close()
        except (OSError, ValueError) as error:
            faults.append(error)
        else:
            return
    raise TargetUnavailable(f"No Spark answers at {address}: {faults[0]}.", f"Is it running? {DOCS}") from faults[0]
