-- Which clocks do the counties of the United States keep, and how much land is that?
select
    timezones.tzid,
    timezones.standard_utc_offset,
    timezones.daylight_utc_offset,
    count(*) as counties,
    round(sum(admin_level_2.area_km2)) as area_km2
from marts.admin_level_2
inner join marts.admin_unit_timezones
    on admin_level_2.gid = admin_unit_timezones.gid
    and admin_unit_timezones.is_primary
inner join marts.timezones
    on admin_unit_timezones.tzid = timezones.tzid
where admin_level_2.gid_0 = 'USA'
group by timezones.tzid, timezones.standard_utc_offset, timezones.daylight_utc_offset
order by counties desc, timezones.tzid
