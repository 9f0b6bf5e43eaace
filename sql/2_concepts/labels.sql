-- labels: the concept of a latent in a few tags: those with the highest z over both item halves.
-- grain:  run_id, latent_id
-- reads:  concepts.concept_tags
-- params:
--   $run_id     VARCHAR the SAE run
--   $label_tags BIGINT  most tags in a label
-- yields:
--   run_id      VARCHAR   the SAE run
--   latent_id   INTEGER   0-based
--   leading_tag VARCHAR   the first tag of the label, kind:value
--   label       VARCHAR   the tags, strongest first, without kinds that their values make plain
--   tags        VARCHAR[] the same tags with their kinds
--   n_shared    BIGINT    tags of the label that both item halves chose on their own
-- source: docs/decisions.md; only tags that carry the confidence are shown beside it
with concept_tags as (
    select * from concepts.concept_tags where run_id = $run_id and rank <= $label_tags
),

pooled as (
    -- at most two terms, one a side: their sum does not depend on order
    select
        latent_id,
        tag,
        sum(z) as z,
        count(*) as n_sides
    from concept_tags
    group by latent_id, tag
),

ranked as (
    select
        *,
        row_number() over (partition by latent_id order by z desc, tag) as place
    from pooled
)

select
    $run_id as run_id,
    latent_id,
    arg_min(tag, place) as leading_tag,
    string_agg(
        regexp_replace(
            tag,
            '^(brand|category|complement|decade|genre|substitute|user_tag|word|year):',
            ''
        ),
        ', ' order by place
    ) as label,
    list(tag order by place) as tags,
    count(*) filter (where n_sides = 2) as n_shared
from ranked
where place <= $label_tags
group by latent_id
