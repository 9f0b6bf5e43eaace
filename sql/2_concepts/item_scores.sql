-- item_scores: what one item adds to a latent's score, by tags fitted on the other item half.
-- grain:  run_id, latent_id, item_id
-- reads:  concepts.concept_tags, staging.tags
-- params:
--   $run_id    VARCHAR the SAE run
--   $tags_used BIGINT  tags of each half that count: the label's, or the whole profile
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based
--   item_id   INTEGER 1-based
--   score     BIGINT  sum of weights in ten-thousandths; exact, so no order of adding matters
-- source: docs/decisions.md, item-disjoint cross-fitting: no item scores with a weight that its own
--         tags helped to fit
with concept_tags as (
    select * from concepts.concept_tags where run_id = $run_id and rank <= $tags_used
),

tags as (
    select * from staging.tags where run_id = $run_id
),

totals as (
    select
        latent_id,
        item_side,
        sum(z order by rank) as z
    from concept_tags
    group by latent_id, item_side
),

weights as (
    select
        concept_tags.latent_id,
        if(concept_tags.item_side = 'A', 'B', 'A') as scored_side,
        concept_tags.tag,
        round(concept_tags.z / totals.z / concept_tags.spread * 10000)::bigint as weight
    from concept_tags
    inner join totals
        on
            concept_tags.latent_id = totals.latent_id
            and concept_tags.item_side = totals.item_side
)

select
    $run_id as run_id,
    weights.latent_id,
    tags.item_id,
    sum(weights.weight)::bigint as score
from weights
inner join tags
    on weights.scored_side = tags.item_side and weights.tag = tags.tag
group by weights.latent_id, tags.item_id
