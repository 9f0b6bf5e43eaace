-- tags: the tags of every item in one round: its own (round 0) or those of a random item alike.
-- grain:  run_id, item_id, tag
-- reads:  raw.runs, raw.item_tags, staging.item_sides, staging.tag_names
-- params:
--   $run_id      VARCHAR the SAE run
--   $seed        BIGINT  seed of the permutations
--   $permutation BIGINT  round; 0 leaves every tag where it is
-- yields:
--   run_id    VARCHAR the SAE run
--   item_id   INTEGER item that carries the tag in this round
--   item_side VARCHAR A or B, the item's own side
--   tag       VARCHAR kind:value, one name for tags that are the same (staging.tag_names)
-- source: docs/decisions.md; tags move as whole sets among items of similar popularity, so that
--         frequency and co-occurrence of tags stay and only their meaning goes
with runs as (
    select * from raw.runs where run_id = $run_id
),

sides as (
    select * from staging.item_sides where run_id = $run_id
),

receivers as (
    select
        *,
        row_number() over (partition by popularity_bin order by item_id) as place
    from sides
),

donors as (
    select
        item_id as donor_id,
        popularity_bin,
        row_number() over (
            partition by popularity_bin
            order by
                if(
                    $permutation = 0,
                    0::ubigint,
                    md5_number_lower(concat_ws('|', $seed, 'permutation', $permutation, item_id))
                ),
                item_id
        ) as place
    from sides
),

named as (
    -- an item may carry several spellings of a tag
    select distinct
        tags.item_id,
        names.name as tag
    from raw.item_tags as tags
    inner join runs on tags.dataset = runs.dataset
    inner join staging.tag_names as names on runs.run_id = names.run_id and tags.tag = names.tag
)

select
    receivers.run_id,
    receivers.item_id,
    receivers.item_side,
    named.tag
from receivers
inner join donors
    on
        receivers.popularity_bin = donors.popularity_bin
        and receivers.place = donors.place
inner join named on donors.donor_id = named.item_id
