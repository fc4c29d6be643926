"""Which SQL brings a database from what it has to what it needs; what it does there is tested on a real server."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ingest.errors import UsageError
from ingest.settings import Settings
from ingest.setup import keeper, rights
from ingest.setup.rights import PUBLIC, SCHEMAS, Catalogue, Function, Relation, Role, Roles

ROLES = Roles("l", "t", "r", "k")
NOTHING = Catalogue(user="admin", database="warehouse")
READS = {"raw": frozenset({("t", "USAGE"), ("l", "USAGE")}), "marts": frozenset({("r", "USAGE")})}
COMPLETE = Catalogue(
    user="admin",
    database="warehouse",
    postgis="public",
    database_grants=frozenset({(PUBLIC, "CONNECT"), ("t", "CREATE")}),
    roles={name: Role(may_login=name != "k", is_superuser=False) for name in ROLES},
    schemas={schema: (ROLES.owner(schema), READS.get(schema, frozenset())) for schema in SCHEMAS},
    defaults=frozenset(
        {
            ("k", "raw", "t", "SELECT"),
            *(("k", "raw", "l", privilege) for privilege in (*keeper.ROW_PRIVILEGES, "USAGE")),
            ("t", "marts", "r", "SELECT"),
            ("t", "marts", "r", "EXECUTE"),
        }
    ),
    made=frozenset(function.name for function in keeper.FUNCTIONS),
)
MAY_WRITE = "select, insert, update, delete, truncate"


def statements(found: Catalogue, names: Roles = ROLES, **changes: Any) -> list[str]:
    """Return what is missing, as text."""
    return [statement.as_string() for statement in rights.missing(dataclasses.replace(found, **changes), names)]


def test_an_empty_database_gets_everything() -> None:
    made = statements(NOTHING)
    functions = [statement for statement in made if '"raw"."' in statement]
    assert made == [
        'create extension "postgis" schema "public"',
        'create role "l" login',
        'create role "t" login',
        'create role "r" login',
        'create role "k" nologin',
        'grant create on database "warehouse" to "t"',
        'create schema "raw" authorization "k"',
        'create schema "staging" authorization "t"',
        'create schema "intermediate" authorization "t"',
        'create schema "marts" authorization "t"',
        'create schema "seeds" authorization "t"',
        'grant usage on schema "raw" to "t"',
        'alter default privileges for role "k" in schema "raw" grant select on tables to "t"',
        'grant usage on schema "marts" to "r"',
        'alter default privileges for role "t" in schema "marts" grant select on tables to "r"',
        'grant execute on all functions in schema "marts" to "r"',
        'alter default privileges for role "t" in schema "marts" grant execute on functions to "r"',
        'grant usage on schema "raw" to "l"',
        f'alter default privileges for role "k" in schema "raw" grant {MAY_WRITE} on tables to "l"',
        'alter default privileges for role "k" in schema "raw" grant usage on sequences to "l"',
        *functions,
    ]
    assert len(functions) == 4 * len(keeper.FUNCTIONS)
    for made_now, owned, closed, opened in zip(*[iter(functions)] * 4, strict=True):
        assert " security definer set search_path = pg_catalog, pg_temp as " in made_now
        assert owned.endswith(' owner to "k"')
        assert closed.endswith(" from public")
        assert opened.endswith(' to "l"')


def test_every_role_may_use_postgis_in_a_schema_of_its_own() -> None:
    grants = frozenset({("t", "USAGE"), ("somebody", "USAGE")})
    assert statements(COMPLETE, postgis="extensions", postgis_grants=grants) == [
        'grant usage on schema "extensions" to "l"',
        'grant usage on schema "extensions" to "r"',
        'grant usage on schema "extensions" to "k"',
    ]


def test_without_a_schema_public_postgis_gets_one_that_every_role_may_use() -> None:
    assert statements(COMPLETE, postgis=None, has_public=False, postgis_grants=frozenset()) == [
        'create schema "extensions"',
        'create extension "postgis" schema "extensions"',
        *(f'grant usage on schema "extensions" to "{role}"' for role in ROLES),
    ]


def test_a_complete_database_gets_nothing() -> None:
    assert statements(COMPLETE) == []


@pytest.mark.parametrize("owner", ["admin", "l"])
def test_a_schema_and_a_table_of_another_owner_are_handed_over(owner: str) -> None:
    granted = frozenset({("t", "USAGE"), (owner, "USAGE"), (owner, "CREATE")})
    schemas = {**COMPLETE.schemas, "raw": (owner, granted)}
    rows = frozenset({("t", "SELECT"), *((owner, privilege) for privilege in keeper.ROW_PRIVILEGES)})
    assert statements(COMPLETE, schemas=schemas, relations=(Relation("raw", "gadm_adm_0", "v", owner, rows),)) == [
        'alter schema "raw" owner to "k"',
        'alter view "raw"."gadm_adm_0" owner to "k"',
        'grant usage on schema "raw" to "l"',  # what an owner may goes over to the new one
        f'grant {MAY_WRITE} on all tables in schema "raw" to "l"',
        'grant usage on all sequences in schema "raw" to "l"',
    ]


def test_the_loader_loses_the_right_to_create_and_the_keeper_that_to_log_in() -> None:
    schemas = {**COMPLETE.schemas, "raw": ("k", READS["raw"] | {("l", "CREATE")})}
    roles = {**COMPLETE.roles, "k": Role(may_login=True, is_superuser=False)}
    assert statements(COMPLETE, schemas=schemas, roles=roles) == [
        'alter role "k" nologin',
        'revoke create on schema "raw" from "l"',
    ]


def test_nobody_stays_a_member_of_the_keeper() -> None:
    assert statements(COMPLETE, keepers=frozenset({"l"})) == ['revoke "k" from "l"']


def test_a_function_of_the_keeper_that_is_not_as_it_should_be_is_made_again() -> None:
    made = statements(COMPLETE, made=COMPLETE.made - {"drop_table"})
    assert [statement.split("(")[0] for statement in made] == [
        'create or replace function "raw"."drop_table"',
        'alter function "raw"."drop_table"',
        'revoke all on function "raw"."drop_table"',
        'grant execute on function "raw"."drop_table"',
    ]


def test_no_other_function_in_raw_runs_as_the_keeper() -> None:
    assert statements(COMPLETE, functions=(Function("raw", "f", "", "l"),)) == []


@pytest.mark.parametrize(("postgis", "is_closed"), [("public", True), (None, True), ("extensions", False)])
def test_the_schema_of_postgis_is_closed_to_what_everybody_creates(postgis: str | None, is_closed: bool) -> None:
    grants = frozenset({(PUBLIC, "USAGE")})
    found = statements(COMPLETE, everyone_creates=True, postgis=postgis, postgis_grants=grants)
    assert ("revoke create on schema public from public" in found) is is_closed


def test_a_function_of_another_owner_is_handed_over_and_may_be_replaced_by_the_transformer() -> None:
    mine = Function("marts", "fold_name", "name text", "t")
    theirs = Function("marts", "locate", "lon double precision, lat double precision", "admin")
    assert statements(COMPLETE, functions=(mine, theirs)) == [
        'alter routine "marts"."locate"(lon double precision, lat double precision) owner to "t"'
    ]


def test_a_table_that_may_not_be_read_yet_may_be_read_afterwards() -> None:
    table = Relation("marts", "admin_units", "r", "t", frozenset({("t", "SELECT")}))
    assert statements(COMPLETE, relations=(table,)) == ['grant select on all tables in schema "marts" to "r"']


def test_what_everybody_may_in_a_schema_is_taken_away() -> None:
    schemas = {**COMPLETE.schemas, "seeds": ("t", frozenset({(PUBLIC, "USAGE")}))}
    assert statements(COMPLETE, schemas=schemas) == ['revoke all on schema "seeds" from public']


def test_a_role_that_may_not_log_in_may_afterwards() -> None:
    roles = {**COMPLETE.roles, "r": Role(may_login=False, is_superuser=False)}
    assert statements(COMPLETE, roles=roles) == ['alter role "r" login']


def test_a_database_that_is_closed_to_others_is_opened_to_the_three() -> None:
    assert statements(COMPLETE, database_grants=frozenset({("l", "CONNECT"), ("t", "CREATE")})) == [
        'grant connect on database "warehouse" to "t"',
        'grant connect on database "warehouse" to "r"',
    ]


def test_the_transformer_may_make_schemas_unless_everybody_may() -> None:
    grants = frozenset({(PUBLIC, "CONNECT"), ("l", "CREATE"), ("r", "CREATE")})
    assert statements(COMPLETE, database_grants=grants) == ['grant create on database "warehouse" to "t"']
    assert statements(COMPLETE, database_grants=grants | {(PUBLIC, "CREATE")}) == []


def test_what_a_killed_build_has_left_is_handed_over_and_need_not_be_read() -> None:
    left = {"marts_next": ("admin", frozenset({("r", "USAGE")})), "staging_old_1f": ("t", frozenset())}
    table = Relation("marts_next", "admin_units", "r", "admin", frozenset())
    function = Function("staging_old_1f", "f", "", "admin")
    found = statements(COMPLETE, schemas={**COMPLETE.schemas, **left}, relations=(table,), functions=(function,))
    assert found == [
        'alter schema "marts_next" owner to "t"',
        'alter table "marts_next"."admin_units" owner to "t"',
        'alter routine "staging_old_1f"."f"() owner to "t"',
    ]


def test_an_owner_who_is_no_superuser_is_a_member_of_the_roles_for_as_long_as_it_takes() -> None:
    made = statements(NOTHING, is_superuser=False, postgis="public")
    assert made[5:8] == [f'grant "{role}" to "admin"' for role in "klt"]
    assert made[-3:] == [f'revoke "{role}" from "admin"' for role in "klt"]
    assert statements(COMPLETE, is_superuser=False) == []


def test_every_name_is_quoted() -> None:
    made = statements(NOTHING, Roles('l"; drop table x; --', "Ünder Score", "select"))
    assert 'create role "l""; drop table x; --" login' in made
    assert 'create role "Ünder Score" login' in made
    assert 'grant usage on schema "marts" to "select"' in made


def test_a_superuser_is_refused_as_one_of_the_roles() -> None:
    roles = {**COMPLETE.roles, "r": Role(may_login=True, is_superuser=True)}
    with pytest.raises(UsageError, match="r is a superuser"):
        statements(COMPLETE, roles=roles)


@pytest.mark.parametrize(
    "names", [("a", "a", "b"), ("", "b", "c"), ("a", "b", "c" * 64), ("a", "b", "é" * 32), ("a", "b", "c\0")]
)
def test_names_that_are_not_three_or_no_names_are_a_wrong_usage(settings: Settings, names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        rights.init(settings, Roles(*names), dry_run=True, report=lambda _line: None)


def test_the_embedded_target_needs_none_of_it(settings: Settings) -> None:
    lines: list[str] = []
    rights.init(settings, Roles(), dry_run=False, report=lines.append)
    assert lines == ["The embedded target has no roles: nothing to do."]


def test_a_sequence_need_not_be_read() -> None:
    sequence = Relation("marts", "counter", "S", "t", frozenset({("t", "USAGE")}))
    assert statements(COMPLETE, relations=(sequence,)) == []
