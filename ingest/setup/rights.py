"""Roles and rights in PostgreSQL: four roles, the schemas of all datasets, and no need for a superuser afterwards.

The loader writes to ``raw``, which the keeper owns, as whom nobody logs in (see `ingest.setup.keeper`); the transformer
reads it and owns ``staging``, ``intermediate``, ``marts`` and ``seeds``; the reader reads ``marts`` and calls its
functions. Every load and every build replaces tables, so the right to read is granted through default privileges: new
tables are readable at once. A build makes its schemas anew and then renames them, so the transformer may create
schemas.

`read` reads the current state from the catalogue, and `missing`, which is pure, derives the missing statements from it.
So setup is idempotent, leaves alone what is right, and its SQL can be reviewed before it runs. `check_load` refuses a
load whose tables the transformer could not read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from ingest import catalog, refusals, sessions
from ingest.errors import IngestError, PermissionMissing, TargetUnavailable, UsageError
from ingest.settings import Postgres, Settings, with_dataset
from ingest.setup import keeper
from ingest.setup.keeper import RAW

STAGING = "staging"
MARTS = "marts"
OF_TRANSFORMER = (STAGING, "intermediate", MARTS, "seeds")
SCHEMAS = (RAW, *OF_TRANSFORMER)
EXTENSIONS = "extensions"  # where PostGIS is put if there is no schema public
# the marts of every dataset, which the first build of each makes, and what builds make beside them
EVERY_MARTS = tuple(with_dataset(MARTS, name) for name in catalog.hierarchies())
OF_DATASETS = "|".join(with_dataset("", name) for name in catalog.hierarchies())
LOOKUP = rf"^marts({OF_DATASETS})_edition_[0-9a-f]+$"  # through which an edition's lookup functions read its tables
OF_BUILDS = rf"^(staging|intermediate|marts)({OF_DATASETS})(|_next|_old_[0-9a-f]+)$|{LOOKUP}"
MAX_NAME_BYTES = 63  # PostgreSQL truncates longer names, and two roles could become one
KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"}
PUBLIC = ""  # the grantee that stands for everybody


@dataclass(frozen=True)
class Roles:
    """The names of the roles.

    Attributes
    ----------
    loader : str
        Runs ``python -m ingest`` and its workers.
    transformer : str
        Runs dbt.
    reader : str
        Queries the marts.
    keeper : str
        Owns ``raw``; nobody logs in as it.
    """

    loader: str = "boundaries_loader"
    transformer: str = "boundaries_transformer"
    reader: str = "boundaries_reader"
    keeper: str = "boundaries_keeper"

    def __iter__(self) -> Iterator[str]:
        return iter(dataclasses.astuple(self))

    def owner(self, schema: str) -> str:
        """Return the owner of a schema and everything in it."""
        return self.keeper if schema == RAW else self.transformer

    def check(self) -> None:
        """Check that the names are valid and distinct.

        Raises
        ------
        UsageError
            When they are not.
        """
        for name in self:
            if not name or "\0" in name or len(name.encode()) > MAX_NAME_BYTES:
                raise UsageError(f"{name!r} is not a valid role name.", f"Use 1 to {MAX_NAME_BYTES} bytes.")
        if len(set(self)) != len(tuple(self)):
            raise UsageError(
                "Each role needs a name of its own.", "Set --loader, --transformer, --reader and --keeper."
            )


Grants = frozenset[tuple[str, str]]  # of (grantee, privilege)


@dataclass(frozen=True)
class Role:
    """An existing role."""

    may_login: bool
    is_superuser: bool


@dataclass(frozen=True)
class Relation:
    """An existing table, view or sequence."""

    schema: str
    name: str
    kind: str
    owner: str
    grants: Grants


@dataclass(frozen=True)
class Function:
    """A function in the database, with the types of its arguments as PostgreSQL writes them."""

    schema: str
    name: str
    arguments: str
    owner: str


@dataclass(frozen=True)
class Catalogue:
    """The current state of the database, as far as rights depend on it.

    Attributes
    ----------
    user : str
        The connected user.
    is_superuser : bool
        Whether the user is a superuser.
    memberships : frozenset of str
        Roles whose rights the user has.
    postgis : str or None
        The schema that PostGIS is in; None if the extension has not been created.
    postgis_grants : frozenset
        Grants on that schema.
    has_public : bool
        Whether there is a schema ``public``.
    database : str
        Name of the database.
    database_grants : frozenset
        Grants on the database.
    everyone_creates : bool
        Whether everybody may create objects in the schema ``public``, the default before PostgreSQL 15.
    roles : dict of str to Role
        Those of the roles that exist.
    schemas : dict of str to (str, frozenset)
        Owner and grants of the existing schemas of all datasets, and of those that a killed build has left.
    relations : tuple of Relation
        All tables, views and sequences in them.
    functions : tuple of Function
        All functions in the schemas.
    defaults : frozenset
        Default privileges on tables, sequences and functions, as (owner, schema, grantee, privilege).
    made : frozenset of str
        Names of the keeper's functions that are as they should be.
    keepers : frozenset of str
        Those of the roles that are members of the keeper's, and could act as it.
    """

    user: str
    database: str
    is_superuser: bool = True
    memberships: frozenset[str] = frozenset()
    postgis: str | None = None
    postgis_grants: Grants = frozenset({(PUBLIC, "USAGE")})
    has_public: bool = True
    database_grants: Grants = frozenset({(PUBLIC, "CONNECT")})
    everyone_creates: bool = False
    roles: dict[str, Role] = field(default_factory=dict)
    schemas: dict[str, tuple[str, Grants]] = field(default_factory=dict)
    relations: tuple[Relation, ...] = ()
    functions: tuple[Function, ...] = ()
    defaults: frozenset[tuple[str, str, str, str]] = frozenset()
    made: frozenset[str] = frozenset()
    keepers: frozenset[str] = frozenset()


def init(
    settings: Settings,
    roles: Roles,
    *,
    dry_run: bool,
    report: Callable[[str], None],
    open_ledger: Callable[[], object] = lambda: None,
) -> None:
    """Create the missing extension, roles, schemas and rights, in one transaction, and then the ledger.

    Parameters
    ----------
    settings : Settings
        Of the target. The embedded one has no roles, so nothing is done.
    roles : Roles
        Names of the roles.
    dry_run : bool
        Report the SQL without changing the database.
    report : callable
        Takes a line for the user.
    open_ledger : callable
        Creates the tables of the ledger, or upgrades them, which the loader may not.

    Raises
    ------
    UsageError
        When a name is invalid, or is that of a superuser.
    PermissionMissing
        When the user lacks the permission for one of the statements.
    IngestError
        When the schema ``raw`` holds something that would run code of another user if the transformer read it.
    TargetUnavailable
        When the server does not answer.
    """
    roles.check()
    if settings.postgres is None:
        report(f"The {settings.target} target has no roles: nothing to do.")
        return
    where = settings.postgres
    try:
        with _connected(where) as connection:
            if not dry_run:
                connection.execute("select pg_advisory_xact_lock(hashtext('admin-boundaries rights'))")
            found = read(connection, roles)
            statements = list(missing(found, roles))
            for statement in statements:
                report(f"{statement.as_string(connection)};")
                if not dry_run:
                    connection.execute(statement)
            # Asked when it is the keeper's and nobody else can change it any more.
            if not dry_run and (programs := keeper.programs(connection)):
                raise IngestError(
                    f"{where.place}: {'; '.join(f'{name} {reason}' for name, reason in programs)}. The transformer "
                    "would run it. Nothing was changed.",
                    "Drop it, or move it to another schema, then run `python -m ingest init` again.",
                )
        if not dry_run:
            with _acting_as(where, roles.keeper):
                open_ledger()
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermissionMissing(
            f"{where.place}: {_first_line(error)}. Nothing was changed.",
            "Run it as a superuser, or ask one to: `python -m ingest init --dry-run` prints what it does.",
        ) from error
    except psycopg.Error as error:
        raise (
            refusals.error_of(where.place, error.sqlstate, str(error))
            or IngestError(f"{where.place}: {_first_line(error)}. Nothing was changed.")
        ) from error
    if not statements:
        report(f"{where.place}: all roles, schemas and rights are in place, nothing to do.")
    elif dry_run:
        report(f"-- then, as {roles.keeper}: the tables of the ledger, or what they lack")
    else:
        _report_next_steps(where, found, roles, report)


@contextmanager
def _acting_as(where: Postgres, role: str) -> Iterator[None]:
    """Make the user a member of a role for as long as the context lasts, unless it may act as that anyway."""
    with sessions.connect(where, to_write=True, autocommit=True) as connection:
        row = connection.execute(
            "select current_user::text, pg_has_role(%s, case "
            "when current_setting('server_version_num')::integer < 160000 then 'member' else 'set' end)",
            [role],
        ).fetchone()
        assert row is not None  # noqa: S101  a select without from has one row
        user, may = row
        names = sql.Identifier(role), sql.Identifier(user)
        if may:
            yield
            return
        connection.execute(sql.SQL("grant {} to {}").format(*names))
        try:
            yield
        finally:
            connection.execute(sql.SQL("revoke {} from {}").format(*names))


def _report_next_steps(where: Postgres, found: Catalogue, roles: Roles, report: Callable[[str], None]) -> None:
    new = [name for name in roles if name not in found.roles and name != roles.keeper]
    if new:
        report("")
        report(f"The new roles have no password yet. Set one for each in psql, connected to {where.dbname}:")
        for name in new:
            report(f"\\password {sql.Identifier(name).as_string()}")
        report("")
    report(f"From now on: PGUSER={roles.loader} for python -m ingest, PGUSER={roles.transformer} for dbt.")


# A user who may not create tables in `raw` gets the server's own message, which says more.
UNREADABLE = f"""
select current_user::text, pg_get_userbyid(raw.nspowner)::text, transformer.rolname::text
from pg_namespace raw
cross join pg_roles transformer
where raw.nspname = %(raw)s
    and not {keeper.IS_THERE}
    and has_schema_privilege(raw.oid, 'create')
    and transformer.oid in (select nspowner from pg_namespace where nspname = any(%(built)s))
    and transformer.rolname <> current_user
    and not transformer.rolsuper
    and not exists (
        select from pg_roles everything
        where everything.rolname = 'pg_read_all_data' and pg_has_role(transformer.oid, everything.oid, 'usage')
    )
    and not (
        has_schema_privilege(transformer.oid, raw.oid, 'usage')
        and (
            pg_has_role(transformer.oid, current_user, 'usage')
            or exists (
                select from pg_default_acl by_default
                cross join aclexplode(by_default.defaclacl) acl
                where pg_get_userbyid(by_default.defaclrole) = current_user
                    and by_default.defaclobjtype = 'r'
                    and by_default.defaclnamespace in (0, raw.oid)
                    and acl.privilege_type = 'SELECT'
                    and (acl.grantee = 0 or pg_has_role(transformer.oid, acl.grantee, 'usage'))
            )
        )
    )
order by transformer.rolname
limit 1
"""  # noqa: S608  text of this package


def check_load(where: Postgres | None) -> None:
    """Refuse a load by a user whose tables the owner of the marts could not read. Nothing is changed.

    With a single user for everything, and before the first build, there is nothing to refuse.

    Parameters
    ----------
    where : Postgres or None
        The target; None for the embedded one, which has no roles.

    Raises
    ------
    PermissionMissing
        When the tables that this user creates in ``raw`` would not be readable by whoever owns the marts.
    TargetUnavailable
        When the server does not answer.
    """
    if where is None:
        return
    with _connected(where) as connection:
        row = connection.execute(UNREADABLE, {"raw": RAW, "built": [STAGING, MARTS]}).fetchone()
    if row is None:
        return
    user, owner, transformer = row
    other = "" if user == owner else f"Set PGUSER={owner}, which owns that schema, or run "
    raise PermissionMissing(
        f"{where.place}: {transformer}, which builds the marts, could not read the tables that {user} would create in "
        f"the schema {RAW}.",
        f"{other or 'Run '}`python -m ingest init` as a superuser.",
    )


@contextmanager
def _connected(where: Postgres) -> Iterator[psycopg.Connection]:
    """Yield a connection, in a transaction that is committed at the end."""
    try:
        with sessions.connect(where, to_write=True) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise (
            refusals.error_of(where.place, error.sqlstate, str(error))
            or TargetUnavailable(
                f"{where.place} does not answer: {_first_line(error)}", "Check PGHOST, PGPORT, PGUSER and PGPASSWORD."
            )
        ) from error


def read(connection: psycopg.Connection, roles: Roles) -> Catalogue:
    """Read the current state from the catalogue; every user may.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection to the database.
    roles : Roles
        The roles to look for.

    Returns
    -------
    Catalogue
    """
    row = connection.execute(
        "select current_user::text, current_database()::text, rolsuper, "
        "exists (select from pg_namespace where nspname = 'public'), "
        "exists (select from pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) acl "
        "where nspname = 'public' and acl.grantee = 0 and acl.privilege_type = 'CREATE') "
        "from pg_roles where rolname = current_user"
    ).fetchone()
    assert row is not None  # noqa: S101  whoever is connected has a role
    names = list(roles)
    schemas = [
        name
        for (name,) in connection.execute(
            "select nspname::text from pg_namespace where nspname = any(%s) or nspname ~ %s",
            [list(SCHEMAS), OF_BUILDS],
        )
    ]
    found = connection.execute(
        "select rolname::text, rolcanlogin, rolsuper, pg_has_role(oid, 'usage') from pg_roles where rolname = any(%s)",
        [names],
    ).fetchall()
    acl = "left join lateral aclexplode({}) acl on true left join pg_roles grantee on grantee.oid = acl.grantee"
    grant = "coalesce(grantee.rolname::text, ''), acl.privilege_type"
    in_database = connection.execute(
        f"select {grant} from pg_database "  # type: ignore[arg-type]  # noqa: S608
        f"{acl.format('''coalesce(datacl, acldefault('d', datdba))''')} where datname = current_database()"
    ).fetchall()
    postgis = sessions.postgis_schema(connection)
    on_postgis = connection.execute(
        f"select {grant} from pg_namespace {acl.format('nspacl')} where nspname = %s",  # type: ignore[arg-type]  # noqa: S608
        [postgis or "public"],
    ).fetchall()
    in_schemas = connection.execute(
        f"select nspname::text, pg_get_userbyid(nspowner)::text, {grant} from pg_namespace "  # type: ignore[arg-type]  # noqa: S608
        f"{acl.format('nspacl')} where nspname = any(%s) order by nspname",
        [schemas],
    ).fetchall()
    # Sequences that belong to a column are left out: they follow their table.
    in_relations = connection.execute(
        f"select nspname::text, relname::text, relkind::text, pg_get_userbyid(relowner)::text, {grant} "  # type: ignore[arg-type]  # noqa: S608
        f"from pg_class c join pg_namespace n on n.oid = relnamespace {acl.format('relacl')} "
        "where nspname = any(%s) and relkind = any(%s) and not exists (select from pg_depend d "
        "where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i') "
        "and d.refobjsubid > 0) order by nspname, relname",
        [schemas, list(KINDS)],
    ).fetchall()
    by_default = connection.execute(
        f"select pg_get_userbyid(defaclrole)::text, nspname::text, {grant} from pg_default_acl "  # type: ignore[arg-type]  # noqa: S608
        f"join pg_namespace n on n.oid = defaclnamespace {acl.format('defaclacl')} "
        "where defaclobjtype in ('r', 'f', 'S') and nspname = any(%s)",
        [schemas],
    ).fetchall()
    functions = connection.execute(
        "select nspname::text, proname::text, pg_get_function_identity_arguments(p.oid), "
        "pg_get_userbyid(proowner)::text from pg_proc p join pg_namespace n on n.oid = pronamespace "
        "where nspname = any(%s) and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass "
        "and d.objid = p.oid and d.deptype = 'e') order by 1, 2, 3",  # those of an extension belong to it
        [schemas],
    ).fetchall()
    members = connection.execute(
        "select pg_get_userbyid(member)::text from pg_auth_members "
        "where pg_get_userbyid(roleid) = %s and pg_get_userbyid(member) = any(%s)",
        [roles.keeper, names],
    ).fetchall()
    relations: dict[tuple[str, str, str, str], set[tuple[str, str]]] = {}
    for schema, name, kind, owner, grantee, privilege in in_relations:
        relations.setdefault((schema, name, kind, owner), set()).add((grantee, privilege))
    return Catalogue(
        user=row[0],
        database=row[1],
        is_superuser=row[2],
        postgis=postgis,
        postgis_grants=frozenset(on_postgis),
        has_public=row[3],
        everyone_creates=row[4],
        memberships=frozenset(name for name, _, _, is_member in found if is_member),
        database_grants=frozenset(in_database),
        roles={name: Role(may_login, is_superuser) for name, may_login, is_superuser, _ in found},
        schemas={
            schema: (owner, frozenset((other[2], other[3]) for other in in_schemas if other[0] == schema and other[3]))
            for schema, owner, _, _ in in_schemas
        },
        relations=tuple(Relation(*key, frozenset(grants)) for key, grants in relations.items()),
        functions=tuple(Function(*row) for row in functions),
        defaults=frozenset(by_default),
        made=keeper.in_place(connection, roles.keeper, roles.loader),
        keepers=frozenset(name for (name,) in members),
    )


def missing(found: Catalogue, roles: Roles) -> Iterator[sql.Composed]:
    """Yield the statements that bring the database to the required state.

    Parameters
    ----------
    found : Catalogue
        The current state.
    roles : Roles
        Names of the three roles.

    Yields
    ------
    psycopg.sql.Composed
        In the order in which they must run; none if nothing is missing.

    Raises
    ------
    UsageError
        When one of the roles is a superuser, whom no restriction binds.
    """
    for name in roles:
        if name in found.roles and found.roles[name].is_superuser:
            raise UsageError(f"{name} is a superuser, whom no restriction binds.", "Choose another role.")
    if found.postgis is None:
        # The schema is named, because the path of the session holds none in which objects should be made.
        if not found.has_public:
            yield sql.SQL("create schema {}").format(sql.Identifier(EXTENSIONS))
        yield sql.SQL("create extension {} schema {}").format(
            sql.Identifier("postgis"), sql.Identifier("public" if found.has_public else EXTENSIONS)
        )
    yield from _roles(found, roles)
    if not {(PUBLIC, "CREATE"), (roles.transformer, "CREATE")} & found.database_grants:
        yield sql.SQL("grant create on database {} to {}").format(
            sql.Identifier(found.database), sql.Identifier(roles.transformer)
        )
    if found.everyone_creates and (found.postgis or "public") == "public":
        # The sessions of all roles find PostGIS there, and with it what anybody has created.
        yield sql.SQL("revoke create on schema public from public").format()
    yield from _using_postgis(found, roles)
    inside = [*_ownership(found, roles), *_reading(found, roles), *_writing(found, roles)]
    # Without superuser rights, a user must be a member of a role to make it an owner or to grant rights that it owns.
    lent = [
        name
        for name in (roles.keeper, roles.loader, roles.transformer)
        if inside and not found.is_superuser and name not in {*found.memberships, found.user}
    ]
    for name in lent:
        yield sql.SQL("grant {} to {}").format(sql.Identifier(name), sql.Identifier(found.user))
    yield from inside
    for name in lent:
        yield sql.SQL("revoke {} from {}").format(sql.Identifier(name), sql.Identifier(found.user))


def _roles(found: Catalogue, roles: Roles) -> Iterator[sql.Composed]:
    """Yield what creates the roles, lets all but the keeper log in, and nobody act as the keeper."""
    for name in roles:
        login = "nologin" if name == roles.keeper else "login"
        if name not in found.roles:
            yield sql.SQL(f"create role {{}} {login}").format(sql.Identifier(name))
        elif found.roles[name].may_login is (name == roles.keeper):
            yield sql.SQL(f"alter role {{}} {login}").format(sql.Identifier(name))
        if name != roles.keeper and not {(PUBLIC, "CONNECT"), (name, "CONNECT")} & found.database_grants:
            yield sql.SQL("grant connect on database {} to {}").format(
                sql.Identifier(found.database), sql.Identifier(name)
            )
        if name in found.keepers:
            yield sql.SQL("revoke {} from {}").format(sql.Identifier(roles.keeper), sql.Identifier(name))


def _using_postgis(found: Catalogue, roles: Roles) -> Iterator[sql.Composed]:
    """Yield what lets the roles use PostGIS where it is in a schema of its own, as on hosted servers."""
    place, grants = found.postgis, found.postgis_grants
    if place is None:
        place, grants = (EXTENSIONS, frozenset()) if not found.has_public else ("public", grants)
    for name in roles:
        if not {(PUBLIC, "USAGE"), (name, "USAGE")} & grants:
            yield sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(place), sql.Identifier(name))


def _ownership(found: Catalogue, roles: Roles) -> Iterator[sql.Composed]:
    for schema in dict.fromkeys((*SCHEMAS, *found.schemas)):
        owner = sql.Identifier(roles.owner(schema))
        if schema not in found.schemas:
            yield sql.SQL("create schema {} authorization {}").format(sql.Identifier(schema), owner)
            continue
        owned_by, grants = found.schemas[schema]
        if any(grantee == PUBLIC for grantee, _ in grants):
            yield sql.SQL("revoke all on schema {} from public").format(sql.Identifier(schema))
        if owned_by != roles.owner(schema):
            yield sql.SQL("alter schema {} owner to {}").format(sql.Identifier(schema), owner)
    for relation in found.relations:
        if relation.owner != roles.owner(relation.schema):
            yield sql.SQL("alter {} {} owner to {}").format(
                sql.SQL(KINDS[relation.kind]),
                sql.Identifier(relation.schema, relation.name),
                sql.Identifier(roles.owner(relation.schema)),
            )
    for function in found.functions:
        if function.schema == RAW:
            continue  # only what `_writing` makes runs as the keeper
        if function.owner != roles.owner(function.schema):
            yield sql.SQL("alter routine {}({}) owner to {}").format(
                sql.Identifier(function.schema, function.name),
                sql.SQL(function.arguments),  # type: ignore[arg-type]  # as PostgreSQL wrote it
                sql.Identifier(roles.owner(function.schema)),
            )


def _reading(found: Catalogue, roles: Roles) -> Iterator[sql.Composed]:
    marts = [MARTS, *(schema for schema in found.schemas if schema in EVERY_MARTS and schema != MARTS)]
    of_lookups = [schema for schema in found.schemas if re.match(LOOKUP, schema)]
    for schema, grantee in ((RAW, roles.transformer), *((schema, roles.reader) for schema in (*marts, *of_lookups))):
        owner = roles.owner(schema)
        _, grants = found.schemas.get(schema, (owner, frozenset()))
        there = [relation for relation in found.relations if relation.schema == schema and relation.kind != "S"]
        names = {"schema": sql.Identifier(schema), "grantee": sql.Identifier(grantee), "owner": sql.Identifier(owner)}
        if (grantee, "USAGE") not in grants:
            yield sql.SQL("grant usage on schema {schema} to {grantee}").format(**names)
        if any((grantee, "SELECT") not in relation.grants for relation in there):
            yield sql.SQL("grant select on all tables in schema {schema} to {grantee}").format(**names)
        if schema in (RAW, *marts) and (owner, schema, grantee, "SELECT") not in found.defaults:
            yield sql.SQL(
                "alter default privileges for role {owner} in schema {schema} grant select on tables to {grantee}"
            ).format(**names)
        if schema in marts and (owner, schema, grantee, "EXECUTE") not in found.defaults:
            # By default everybody may call a new function, but a database may have revoked that.
            yield sql.SQL("grant execute on all functions in schema {schema} to {grantee}").format(**names)
            yield sql.SQL(
                "alter default privileges for role {owner} in schema {schema} grant execute on functions to {grantee}"
            ).format(**names)


def _writing(found: Catalogue, roles: Roles) -> Iterator[sql.Composed]:
    """Yield what lets the loader write rows to the keeper's tables, and have tables made."""
    _, grants = found.schemas.get(RAW, (roles.keeper, frozenset()))
    there = [relation for relation in found.relations if relation.schema == RAW]
    is_new = any(relation.owner != roles.keeper for relation in there)
    names = {"raw": sql.Identifier(RAW), "loader": sql.Identifier(roles.loader), "keeper": sql.Identifier(roles.keeper)}
    if (roles.loader, "USAGE") not in grants or found.schemas[RAW][0] == roles.loader:
        yield sql.SQL("grant usage on schema {raw} to {loader}").format(**names)
    if (roles.loader, "CREATE") in grants and found.schemas[RAW][0] != roles.loader:
        yield sql.SQL("revoke create on schema {raw} from {loader}").format(**names)
    for kind, wanted in (("tables", keeper.ROW_PRIVILEGES), ("sequences", ("USAGE",))):
        privileges = sql.SQL(", ".join(wanted).lower())
        objects = [relation for relation in there if (relation.kind == "S") == (kind == "sequences")]
        granted = [{privilege for who, privilege in each.grants if who == roles.loader} for each in objects]
        by_default = {privilege for *place, privilege in found.defaults if place == [roles.keeper, RAW, roles.loader]}
        if is_new or any(not set(wanted) <= each for each in granted):
            yield sql.SQL("grant {privileges} on all {kind} in schema {raw} to {loader}").format(
                privileges=privileges, kind=sql.SQL(kind), **names
            )
        if not set(wanted) <= by_default:
            yield sql.SQL(
                "alter default privileges for role {keeper} in schema {raw} grant {privileges} on {kind} to {loader}"
            ).format(privileges=privileges, kind=sql.SQL(kind), **names)
    for function in keeper.FUNCTIONS:
        if function.name not in found.made:
            yield from keeper.making(function, roles.keeper, roles.loader)


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
