"""Make dbt generate its code, once for all commands that are forked from this process.

dbt writes functions for its classes and schemas of its files when it first needs them, which takes a second or two in
every process. A small project that has one of everything is parsed here: forks find the functions, and nothing of it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from dbt.adapters.factory import reset_adapters
from dbt.cli.main import dbtRunner

FILES = {
    "dbt_project.yml": """
name: one_of_everything
version: 0.1.0
profile: one_of_everything
test-paths: [singular]
flags: {send_anonymous_usage_stats: false, require_generic_test_arguments_property: true}
models: {+contract: {enforced: true}, +post-hook: [{sql: select 1, transaction: false}]}
on-run-start: [select 1]
""",
    "profiles.yml": """
one_of_everything:
  target: embedded
  outputs:
    embedded: {type: duckdb, path: ":memory:"}
    postgres: {type: postgres, host: nowhere, port: 5432, user: one, password: one, dbname: one, schema: marts}
""",
    "models/parents.sql": "select 1 as gid from {{ source('files', 'rows_of_file') }}",
    "models/units.sql": "select gid from {{ ref('parents') }}",
    "models/faults.py": "def model(dbt, session):\n    return dbt.ref('units')\n",
    "models/all.yml": """
version: 2
sources:
  - name: files
    freshness: {warn_after: {count: 1, period: day}}
    loaded_at_query: select 1
    tables: [{name: rows_of_file, columns: [{name: gid, data_tests: [unique]}]}]
models:
  - name: units
    description: "{{ doc('unit') }}"
    constraints: [{type: primary_key, columns: [gid]}]
    columns:
      - name: gid
        data_type: integer
        constraints: [{type: not_null}]
        data_tests: [not_null, {relationships: {arguments: {to: ref('parents'), field: gid}}}]
unit_tests:
  - name: a_unit_is_a_parent
    model: units
    given: [{input: ref('parents'), rows: [{gid: 1}]}]
    expect: {rows: [{gid: 1}]}
""",
    "models/docs.md": "{% docs unit %}A unit.{% enddocs %}",
    "macros/one.sql": "{% macro one(n=1) %}{{ n }}{% endmacro %}",
    "macros/one.yml": "macros: [{name: one, arguments: [{name: n, type: integer}]}]",
    "seeds/codes.csv": "gid\n1\n",
    "singular/no_unit.sql": "select 1 as one from {{ ref('units') }} where false",
}


def warm() -> None:
    """Parse the project twice: the second time what the first has kept is read."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        here = ("--project-dir", folder, "--profiles-dir", folder, "--log-level", "none", "--log-level-file", "none")
        for target in ("postgres", "embedded", "embedded"):
            done = dbtRunner().invoke(["parse", *here, "--target", target])
            if not done.success:
                raise RuntimeError("The small project cannot be parsed.") from done.exception
    reset_adapters()  # type: ignore[no-untyped-call]


warm()
