{#- Of each dataset at most one run is published: the one that readers see. -#}
{% test one_published_run_per_dataset(model) %}

select
    dataset,
    count(*) as published_run_count
from {{ model }}
where state = 'published'
group by dataset
having count(*) > 1

{% endtest %}
