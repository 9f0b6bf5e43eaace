-- judge_items: what a judge is shown of a case: the end of the history, then the recommended item.
-- grain:  run_id, case_id, place
-- reads:  raw.runs, raw.items, raw.item_tags, raw.interactions, raw.recommendations,
--         confidence.reference_cases, staging.cases
-- params:
--   $run_id     VARCHAR the SAE run
--   $history    BIGINT  last items of the history that are shown
--   $shown_tags BIGINT  most tags shown behind a title
-- yields:
--   run_id         VARCHAR   the SAE run
--   case_id        BIGINT    0-based; a describing or verifying case of any latent
--   place          INTEGER   1 (oldest) ..; the recommended item comes last
--   is_recommended BOOLEAN   the first recommendation, not an item of the history
--   item_id        INTEGER   1-based
--   title          VARCHAR   display title; NULL when the source has none
--   tags           VARCHAR[] genres, categories or user tags, those of most items first
-- source: the reference shows nine items of the history, the recommended one, and for films their
--         genres
with runs as (
    select * from raw.runs where run_id = $run_id
),

chosen as (
    select distinct case_id from confidence.reference_cases where run_id = $run_id
),

cases as (
    select
        staged.case_id,
        staged.user_id,
        staged.position
    from staging.cases as staged
    inner join chosen on staged.case_id = chosen.case_id
    where staged.run_id = $run_id
),

history_places as (
    select
        case_id,
        user_id,
        unnest(generate_series(greatest(position - $history + 1, 1), position))::integer as position
    from cases
    where $history > 0
),

shown as (
    select
        places.case_id,
        interactions.position as place,
        false as is_recommended,
        interactions.item_id
    from history_places as places
    inner join raw.interactions as interactions
        on places.user_id = interactions.user_id and places.position = interactions.position
    inner join runs on interactions.dataset = runs.dataset
    union all
    select
        cases.case_id,
        cases.position + 1 as place,
        true as is_recommended,
        recommendations.item_id
    from cases
    cross join runs
    inner join raw.recommendations as recommendations
        on
            runs.parent_run_id = recommendations.run_id
            and cases.case_id = recommendations.case_id
    where recommendations.rank = 1
),

own_tags as (
    select
        item_tags.item_id,
        item_tags.tag,
        count(*) over (partition by item_tags.tag) as n_items
    from raw.item_tags as item_tags
    inner join runs on item_tags.dataset = runs.dataset
    where item_tags.kind in ('genre', 'category', 'user_tag')
),

ranked_tags as (
    select
        *,
        row_number() over (partition by item_id order by n_items desc, tag) as tag_place
    from own_tags
),

tags as (
    select
        item_id,
        list(regexp_replace(tag, '^[^:]*:', '') order by tag_place) as tags
    from ranked_tags
    where tag_place <= $shown_tags
    group by item_id
)

select
    $run_id as run_id,
    shown.case_id,
    row_number() over (partition by shown.case_id order by shown.place)::integer as place,
    shown.is_recommended,
    shown.item_id,
    items.title,
    coalesce(tags.tags, []) as tags
from shown
cross join runs
inner join raw.items as items on runs.dataset = items.dataset and shown.item_id = items.item_id
left join tags on shown.item_id = tags.item_id
