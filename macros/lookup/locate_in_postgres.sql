{#-
  `locate` is written in PL/pgSQL, which plans each statement once per session; planning takes longer than running it.
  `locate_points` answers many points with a few joins, at a third of the cost per point.

  Both keep the path of this session (see `own_session`): a caller need not have PostGIS on his own, and what others put
  there is not called. The types of arguments are PostGIS' own, so that no other function fits them better.

  They are made twice. Those of the edition, in its own schema, read its tables. Those in `marts`, which users call, ask
  the catalogue of which edition `marts` is, and hand on to that. PostgreSQL finds a function by name without any lock,
  so that a statement may find the old function and then new tables; but it reads the catalogue as of the statement's
  snapshot, which no statement takes before it has found all its tables. So both are of one edition.
-#}
{% macro locate_in_postgres(functions, edition) %}
    {% set answer %}
        status text,
        gid text,
        admin_level integer,
        {%- for level in admin_levels() %}
        gid_{{ level }} text,
        {%- endfor %}
        {%- for level in admin_levels() %}
        name_{{ level }} text,
        {%- endfor %}
        path text,
        gids text[],
        tzid text,
        tzids text[]
    {%- endset %}
    create function {{ edition }}.locate(lon double precision, lat double precision)
    returns table (
        {{ answer }}
    )
    language plpgsql stable parallel safe
    set search_path from current
    as $locate$
    #variable_conflict use_column
    declare
        point geometry;
        meridian double precision;
        more_gids text[];
        more_tzids text[];
    begin
        -- NULL and NaN are not between anything
        if (locate.lon between -180 and 180 and locate.lat between -90 and 90) is not true then
            locate.status := 'bad coordinates';
            return next;
            return;
        end if;

        foreach meridian in array case when abs(locate.lon) = 180 then array[-180, 180] else array[locate.lon] end loop
            point := st_setsrid(st_makepoint(meridian, locate.lat), 4326);

            select array_agg(distinct parts.gid)
            into more_gids
            from {{ edition }}.internal_leaf_parts as parts
            where st_dwithin(parts.geom, point, {{ border_degrees() }});

            select array_agg(distinct parts.tzid)
            into more_tzids
            from {{ edition }}.internal_timezone_parts as parts
            where st_dwithin(parts.geom, point, {{ border_degrees() }});

            locate.gids := locate.gids || more_gids;
            locate.tzids := locate.tzids || more_tzids;
        end loop;

        if cardinality(locate.gids) > 1 then
            -- where a unit is cut that its children do not cover, the finer unit is the answer
            locate.gids := array(
                select distinct found.gid collate "C"
                from unnest(locate.gids) as found (gid)
                where not exists (
                    select
                    from {{ edition }}.admin_unit_ancestors as ancestors
                    where ancestors.gid = any(locate.gids)
                        and ancestors.ancestor_gid = found.gid
                        and ancestors.gid <> found.gid
                )
                order by 1
            );
        end if;
        if cardinality(locate.tzids) > 1 then
            locate.tzids := array(
                select tz
                from (select distinct unnest(locate.tzids) collate "C" as tz) as zones
                order by tz like 'Etc/%', tz
            );
        end if;
        locate.tzid := locate.tzids[1];
        locate.gid := locate.gids[1];
        locate.status := case coalesce(cardinality(locate.gids), 0)
            when 0 then 'no unit'
            when 1 then 'one unit'
            else 'several units'
        end;

        if locate.gid is not null then
            select units.admin_level, units.path
            into locate.admin_level, locate.path
            from {{ edition }}.admin_units as units
            where units.gid = locate.gid;

            select
                {%- for level in admin_levels() %}
                max(ancestors.ancestor_gid) filter (where ancestors.ancestor_level = {{ level }}),
                max(named.name) filter (where ancestors.ancestor_level = {{ level }}){{ ',' if not loop.last }}
                {%- endfor %}
            into
                {%- for level in admin_levels() %}
                locate.gid_{{ level }},
                locate.name_{{ level }}{{ ',' if not loop.last }}
                {%- endfor %}
            from {{ edition }}.admin_unit_ancestors as ancestors
            left join {{ edition }}.admin_units as named
                on ancestors.ancestor_gid = named.gid
            where ancestors.gid = locate.gid;
        end if;
        return next;
    end
    $locate$;

    create function {{ edition }}.locate_points(lons double precision[], lats double precision[])
    returns table (
        point_number bigint,
        {{ answer }}
    )
    language sql stable parallel safe
    set search_path from current
    as $locate_points$
    with

    points as (

        select
            point_number,
            lon,
            lat
        from unnest(lons, lats) with ordinality as given (lon, lat, point_number)

    ),

    {{ locate_answers(schema=edition) }}

    select *
    from answers
    order by point_number
    $locate_points$;

    {{ handed_on(functions, edition, 'locate', ['lon', 'lat'], 'double precision', answer) }}
    comment on function {{ functions }}.locate(double precision, double precision) is
        'The units from country to leaf, and the time zones, at a longitude and latitude in degrees (WGS 84); one row.';

    {{ handed_on(functions, edition, 'locate_points', ['lons', 'lats'], 'double precision[]',
        'point_number bigint,' ~ answer) }}
    comment on function {{ functions }}.locate_points(double precision[], double precision[]) is
        'The same as locate, for many points: one row each, point_number counts from 1.';
{% endmacro %}

{#- SQL that creates the function that users call, before those of the editions that have the same name. -#}
{% macro handed_on(functions, edition, name, arguments, type, answer) %}
    create or replace function {{ functions }}.{{ name }}({{ arguments | join(' ' ~ type ~ ', ') }} {{ type }})
    returns table (
        {{ answer }}
    )
    language plpgsql stable parallel safe
    set search_path from current
    as $handed_on$
    declare
        edition text;
    begin
        select substring(prosrc from '{{ with_dataset('marts') }}_edition_[0-9a-f]{8}') -- as below
        into edition
        from pg_namespace
        inner join pg_proc
            on pronamespace = pg_namespace.oid
        where nspname = '{{ with_dataset('marts') }}'
            and proname = '{{ name }}';

        if edition is null or edition = '{{ edition }}' then
            return query select * from {{ edition }}.{{ name }}({{ arguments | join(', ') }});
        else
            return query execute format('select * from %I.{{ name }}($1, $2)', edition)
                using {{ arguments | join(', ') }};
        end if;
    end
    $handed_on$;
{% endmacro %}
