-- On which clock do the counties of the United States run, and how much land is that?
select
    timezones.tzid,
    timezones.standard_utc_offset,
    timezones.daylight_utc_offset,
    count(*) as counties,
    round(sum(admin_level_2.area_km2)) as area_km2
from marts.admin_level_2
inner join marts.timezones
    on ST_Contains(timezones.geom, ST_Point(admin_level_2.point_lon, admin_level_2.point_lat))
where admin_level_2.gid_0 = 'USA'
group by timezones.tzid, timezones.standard_utc_offset, timezones.daylight_utc_offset
order by counties desc
