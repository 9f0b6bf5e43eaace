-- concept_tags: the tags that tell a latent's active cases from the others, fitted per item half.
-- grain:  run_id, latent_id, item_side, tag
-- reads:  concepts.latent_items, concepts.item_exposure, concepts.tag_spread, staging.tags
-- params:
--   $run_id       VARCHAR the SAE run
--   $case_items   DOUBLE  items that describe a case; turns shares into counts of items
--   $label_tags   BIGINT  tags of the label, which carry the confidence
--   $profile_tags BIGINT  tags kept
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based
--   item_side VARCHAR A or B: the half of the items this was fitted on
--   tag       VARCHAR kind:value
--   rank      BIGINT  1 = highest z of the latent on this side
--   z         DOUBLE  log-odds in standard deviations, above zero
--   spread    DOUBLE  unit of the tag's share (concepts.tag_spread)
--   weight    DOUBLE  z as a share of the label's, divided by the spread; 0 beyond the label
-- source: log-odds ratio with an informative Dirichlet prior, Monroe, Colaresi and Quinn 2008,
--         equations 15, 16, 20 and 22; the prior is the background itself. The paper uses TF-IDF.
with latent_items as (
    select * from concepts.latent_items where run_id = $run_id
),

exposure as (
    select * from concepts.item_exposure where run_id = $run_id
),

tags as (
    select * from staging.tags where run_id = $run_id
),

spreads as (
    select * from concepts.tag_spread where run_id = $run_id and spread > 0
),

active_tags as (
    select
        latent_items.latent_id,
        latent_items.item_side,
        tags.tag,
        sum(latent_items.weight)::bigint as weight
    from latent_items
    inner join tags on latent_items.item_id = tags.item_id
    group by latent_items.latent_id, latent_items.item_side, tags.tag
),

background_tags as (
    select
        exposure.item_side,
        tags.tag,
        sum(exposure.weight)::bigint as weight
    from exposure
    inner join tags on exposure.item_id = tags.item_id
    group by exposure.item_side, tags.tag
),

active_totals as (
    select
        latent_id,
        item_side,
        sum(weight)::bigint as weight
    from active_tags
    group by latent_id, item_side
),

background_totals as (
    select
        item_side,
        sum(weight)::bigint as weight
    from background_tags
    group by item_side
),

counts as (
    -- counts of items: y of the tag, n of all tags; 1 active cases, 2 the others, a the prior
    select
        active_tags.latent_id,
        active_tags.item_side,
        active_tags.tag,
        active_tags.weight * $case_items / 1e6 as y1,
        (background_tags.weight - active_tags.weight) * $case_items / 1e6 as y2,
        background_tags.weight * $case_items / 1e6 as a,
        active_totals.weight * $case_items / 1e6 as n1,
        (background_totals.weight - active_totals.weight) * $case_items / 1e6 as n2,
        background_totals.weight * $case_items / 1e6 as a0
    from active_tags
    inner join background_tags
        on
            active_tags.item_side = background_tags.item_side
            and active_tags.tag = background_tags.tag
    inner join active_totals
        on
            active_tags.latent_id = active_totals.latent_id
            and active_tags.item_side = active_totals.item_side
    inner join background_totals on active_tags.item_side = background_totals.item_side
),

odds as (
    -- with a single tag in all, n - y is zero and the odds mean nothing, as those of a tag that
    -- weighs nothing: NULL rather than a condition, which may be tried after the logarithm
    select
        *,
        if(y1 + a > 0 and n1 + a0 - y1 - a > 0, (y1 + a) / (n1 + a0 - y1 - a), null) as odds1,
        if(y2 + a > 0 and n2 + a0 - y2 - a > 0, (y2 + a) / (n2 + a0 - y2 - a), null) as odds2
    from counts
),

scores as (
    select
        latent_id,
        item_side,
        tag,
        (ln(odds1) - ln(odds2)) / sqrt(1 / (y1 + a) + 1 / (y2 + a)) as z
    from odds
    where odds1 is not null and odds2 is not null
),

ranked as (
    select
        scores.latent_id,
        scores.item_side,
        scores.tag,
        scores.z,
        spreads.spread,
        row_number() over (
            partition by scores.latent_id, scores.item_side
            order by scores.z desc, scores.tag
        ) as rank
    from scores
    inner join spreads
        on scores.item_side = spreads.item_side and scores.tag = spreads.tag
    where scores.z > 0
),

label_totals as (
    select
        latent_id,
        item_side,
        sum(z order by rank) as z
    from ranked
    where rank <= $label_tags
    group by latent_id, item_side
)

select
    $run_id as run_id,
    ranked.latent_id,
    ranked.item_side,
    ranked.tag,
    ranked.rank,
    ranked.z,
    ranked.spread,
    if(ranked.rank <= $label_tags, ranked.z / label_totals.z / ranked.spread, 0) as weight
from ranked
inner join label_totals
    on
        ranked.latent_id = label_totals.latent_id
        and ranked.item_side = label_totals.item_side
where ranked.rank <= $profile_tags
