"""The keeper: the role that owns ``raw``, as which nobody logs in, and the functions that make tables for the loader.

Whoever reads a table runs code of its owner: functions in a view, in the expression of an index or of statistics (the
planner evaluates those that are called immutable), in a cast of a column's type. If the loader owned what dbt reads,
it could therefore do whatever the transformer may. So it owns nothing there and may create nothing. It writes rows, and
has tables and views made by the functions below, which run as the keeper and accept names, not SQL.

`init` creates them. Without them, as with a single user for everything, `ingest.sinks.postgres` makes the tables as
that user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql

RAW = "raw"
PATH = "pg_catalog, pg_temp"
# What the loader may do with rows. Not among them: TRIGGER and REFERENCES.
ROW_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")

GEOMETRY = "geometry(MultiPolygon,4326)"
TABLE_NAME = "^[a-z][a-z0-9_]*__[a-z0-9_]+$"  # of a run: no view and no table of the ledger has such a name
VIEW_NAME = "^(?!ingest_)(?!.*__)[a-z][a-z0-9_]*$"

CHECK_TABLE = f"""
    if {{0}} !~ '{TABLE_NAME}' or octet_length({{0}}) > 63 then
        raise exception '% is not the name of a table of a run', {{0}} using errcode = 'invalid_name';
    end if;"""


@dataclass(frozen=True)
class Function:
    """A function that runs as the keeper.

    Attributes
    ----------
    name : str
        Its name in the schema ``raw``.
    arguments : str
        Their names and types.
    types : str
        Their types, by which PostgreSQL tells functions of one name apart.
    body : str
        In PL/pgSQL.
    """

    name: str
    arguments: str
    types: str
    body: str


MAKE_TABLE = Function(
    "make_table",
    "name text, columns text[], types text[], is_logged boolean",
    "text, text[], text[], boolean",
    f"""
declare
    postgis text := (
        select quote_ident(nspname)
        from pg_extension
        inner join pg_namespace on pg_namespace.oid = extnamespace
        where extname = 'postgis'
    );
    known text[] := array['text', 'integer', 'bigint', 'double precision', 'boolean', '{GEOMETRY}'];
    defined text[];
begin
    {CHECK_TABLE.format("make_table.name")}
    if cardinality(columns) <> cardinality(types) or not types <@ known then
        raise exception 'a column has a type that tables of a run do not have'
            using errcode = 'invalid_parameter_value';
    end if;
    select array_agg(
        format('%I %s', given.name, case given.type when '{GEOMETRY}' then postgis || '.' else '' end || given.type)
        order by given.number
    )
    into defined
    from unnest(columns, types) with ordinality as given (name, type, number);
    if to_regclass(format('raw.%I', make_table.name)) is null then
        execute format(
            'create %s table raw.%I (%s)',
            case when is_logged then '' else 'unlogged' end, make_table.name, array_to_string(defined, ', ')
        );
        if not is_logged then
            -- pglz would take twice the time and save little on coordinates; statistics of them are of no use
            execute format(
                'alter table raw.%I alter geom set storage external, alter geom set statistics 0', make_table.name
            );
        end if;
        return;
    end if;
    for number in 1..cardinality(defined) loop
        if not exists (
            select
            from pg_attribute
            where attrelid = to_regclass(format('raw.%I', make_table.name))
                and attname = columns[number]
                and not attisdropped
        ) then
            execute format('alter table raw.%I add column %s', make_table.name, defined[number]);
        end if;
    end loop;
end
""",  # noqa: S608  names of this module
)
DROP_TABLE = Function(
    "drop_table",
    "name text",
    "text",
    f"""
begin
    {CHECK_TABLE.format("drop_table.name")}
    execute format('drop table if exists raw.%I', drop_table.name);
end
""",
)
ANALYZE_TABLE = Function(
    "analyze_table",
    "name text",
    "text",
    f"""
begin
    {CHECK_TABLE.format("analyze_table.name")}
    execute format('analyze raw.%I', analyze_table.name);
end
""",
)
SHOW_TABLE = Function(
    "show_table",
    "view text, name text, run_id text, release text, columns text[]",
    "text, text, text, text, text[]",
    f"""
declare
    shown text[];
begin
    {CHECK_TABLE.format("show_table.name")}
    if show_table.view !~ '{VIEW_NAME}' or octet_length(show_table.view) > 63 then
        raise exception '% is not the name of a view of a table', show_table.view using errcode = 'invalid_name';
    end if;
    select array_agg(attname::text order by attnum)
    into shown
    from pg_attribute
    where attrelid = to_regclass(format('raw.%I', show_table.view)) and attnum > 0 and not attisdropped;
    if shown <> array['run_id', 'release'] || show_table.columns then
        -- `create or replace` rejects that. What is dropped with it are views that somebody else made on top of it.
        execute format('drop view raw.%I cascade', show_table.view);
    end if;
    execute format(
        'create or replace view raw.%I as select %L::text as run_id, %L::text as release, %s from raw.%I',
        show_table.view, show_table.run_id, show_table.release,
        (
            select string_agg(format('%I', column_name), ', ' order by number)
            from unnest(show_table.columns) with ordinality as given (column_name, number)
        ),
        show_table.name
    );
end
""",  # noqa: S608  names of this module
)
FUNCTIONS = (MAKE_TABLE, DROP_TABLE, ANALYZE_TABLE, SHOW_TABLE)


IS_THERE = f"""
exists (
    select
    from pg_proc
    where pronamespace = (select oid from pg_namespace where nspname = '{RAW}')
        and proname = '{MAKE_TABLE.name}'
        and oidvectortypes(proargtypes) = '{MAKE_TABLE.types}'
)
"""  # noqa: S608  names of this module
IS_LENT = IS_THERE.rstrip().removesuffix(")") + "        and has_function_privilege(pg_proc.oid, 'execute')\n)"
# Whether somebody who logs in, and does not build the marts, decides what runs when the transformer reads raw.
IS_OPEN = """
exists (
    select
    from pg_namespace raw
    inner join pg_roles owner on owner.oid = raw.nspowner
    inner join pg_namespace built on built.nspname in ('staging', 'marts')
    where raw.nspname = 'raw'
        and owner.rolcanlogin
        and not owner.rolsuper
        and not pg_has_role(owner.oid, built.nspowner, 'member')
)
"""


def is_there(connection: psycopg.Connection) -> bool:
    """Whether tables in ``raw`` are made by the keeper's functions."""
    return connection.execute(f"select {IS_THERE}").fetchone() == (True,)  # type: ignore[arg-type]


def in_place(connection: psycopg.Connection, keeper: str, loader: str) -> frozenset[str]:
    """Return the names of the functions that are as they should be: text, owner, path and grants."""
    found = connection.execute(
        "select proname::text, oidvectortypes(proargtypes), prosrc, prosecdef, proconfig, "
        "pg_get_userbyid(proowner)::text, array(select coalesce(rolname, '') "
        "from aclexplode(coalesce(proacl, acldefault('f', proowner))) acl left join pg_roles on oid = acl.grantee "
        "where acl.grantee <> proowner)::text[] "
        "from pg_proc join pg_namespace on pg_namespace.oid = pronamespace where nspname = %s",
        [RAW],
    ).fetchall()
    right = {(each.name, each.types, each.body, True, f"search_path={PATH}", keeper, loader) for each in FUNCTIONS}
    return frozenset(
        name
        for name, types, body, is_definer, settings, owner, callers in found
        if (name, types, body, is_definer, *(settings or []), owner, *callers) in right
    )


def making(function: Function, keeper: str, loader: str) -> Iterator[sql.Composed]:
    """Yield the statements that create or replace a function of the keeper."""
    place = {
        "function": sql.Identifier(RAW, function.name),
        "types": sql.SQL(function.types),  # type: ignore[arg-type]
        "loader": sql.Identifier(loader),
        "keeper": sql.Identifier(keeper),
    }
    yield sql.SQL(
        "create or replace function {function}({arguments}) returns void language plpgsql security definer "
        "set search_path = {path} as {body}"
    ).format(
        **place,
        arguments=sql.SQL(function.arguments),  # type: ignore[arg-type]
        path=sql.SQL(PATH),
        body=sql.SQL("$keeper$" + function.body + "$keeper$"),  # type: ignore[arg-type]
    )
    yield sql.SQL("alter function {function}({types}) owner to {keeper}").format(**place)
    yield sql.SQL("revoke all on function {function}({types}) from public").format(**place)
    yield sql.SQL("grant execute on function {function}({types}) to {loader}").format(**place)


# What would run when somebody reads a table or a view, or when its owner changes it. What a superuser or an extension
# has put there is left out: that of PostgreSQL itself, as in the indexes of the ledger, has no entries in pg_depend.
PROGRAMS = """
with relations as (
    select c.oid, relname, relkind, relrowsecurity
    from pg_class c
    where relnamespace = to_regnamespace(%(raw)s) and relkind in ('r', 'p', 'v', 'm', 'f')
),

parts as (
    select oid as relation, 'pg_class'::regclass as classid, oid as objid from relations
    union all
    select indrelid, 'pg_class'::regclass, indexrelid from pg_index
    union all
    select ev_class, 'pg_rewrite'::regclass, oid from pg_rewrite
    union all
    select adrelid, 'pg_attrdef'::regclass, oid from pg_attrdef
    union all
    select conrelid, 'pg_constraint'::regclass, oid from pg_constraint
    union all
    select stxrelid, 'pg_statistic_ext'::regclass, oid from pg_statistic_ext
),

reasons as (
    select relname, 'is not a plain table or view' as reason
    from relations
    where relkind in ('p', 'm', 'f')
        or oid in (select inhrelid from pg_inherits union all select inhparent from pg_inherits)
    union all
    select relname, 'has a trigger'
    from relations
    where oid in (select tgrelid from pg_trigger where not tgisinternal)
    union all
    select relname, 'has a row-level security policy'
    from relations
    where relrowsecurity or oid in (select polrelid from pg_policy)
    union all
    select relname, 'has a rule'
    from relations
    inner join pg_rewrite on ev_class = relations.oid
    where relkind = 'r' or rulename <> '_RETURN'
    union all
    select relname, 'computes what it shows'
    from relations
    where relkind = 'v' and regexp_replace(pg_get_viewdef(oid), '''([^'']|'''')*''', '', 'g') like '%%(%%'
    union all
    select relname, 'uses a function, an operator or a type that is not PostgreSQL''s or PostGIS'''
    from relations
    inner join parts on relation = relations.oid
    inner join pg_depend
        on pg_depend.classid = parts.classid
        and pg_depend.objid = parts.objid
        and refclassid in (
            'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_cast'::regclass,
            'pg_opclass'::regclass, 'pg_opfamily'::regclass
        )
    where not exists (
        select
        from pg_depend as of_extension
        where of_extension.classid = pg_depend.refclassid
            and of_extension.objid = pg_depend.refobjid
            and of_extension.deptype = 'e'
    )
)

select distinct format('%%I.%%I', %(raw)s::text, relname), reason from reasons order by 1, 2
"""


def programs(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """Return what in ``raw`` would run code of somebody else when it is read, each with the reason."""
    return connection.execute(PROGRAMS, {"raw": RAW}).fetchall()
