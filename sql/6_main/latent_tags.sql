-- latent_tags: the tags of each latent over both halves of the items, strongest first.
-- grain:  run_id, latent_id, tag
-- reads:  concepts.concept_tags, concepts.labels
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based
--   tag       VARCHAR kind:value
--   rank      BIGINT  1 = strongest of the latent
--   z         DOUBLE  log-odds in standard deviations, summed over the halves that chose the tag
--   n_sides   BIGINT  halves of the items (1 or 2) that chose the tag on their own
--   in_label  BOOLEAN whether it is one of the tags of the label, which carry the confidence
with pooled as (
    select
        run_id,
        latent_id,
        tag,
        sum(z order by item_side) as z,
        count(*) as n_sides
    from concepts.concept_tags
    group by run_id, latent_id, tag
)

select
    pooled.run_id,
    pooled.latent_id,
    pooled.tag,
    row_number() over (
        partition by pooled.run_id, pooled.latent_id
        order by pooled.z desc, pooled.tag
    ) as rank,
    pooled.z,
    pooled.n_sides,
    coalesce(list_contains(labels.tags, pooled.tag), false) as in_label
from pooled
left join concepts.labels as labels
    on pooled.run_id = labels.run_id and pooled.latent_id = labels.latent_id
