-- item_sides: the two item halves of the cross-fit, and bins of items of similar popularity.
-- grain:  run_id, item_id
-- reads:  raw.runs, raw.items
-- params:
--   $run_id          VARCHAR the SAE run
--   $seed            BIGINT  seed of the draw
--   $popularity_bins BIGINT  number of bins
-- yields:
--   run_id         VARCHAR the SAE run
--   item_id        INTEGER 1-based
--   item_side      VARCHAR A or B: tags of one half name a concept, tags of the other verify it
--   popularity_bin BIGINT  1 (least popular) .. $popularity_bins; tags are permuted inside a bin
-- source: docs/decisions.md; without this split a list of tags is a fingerprint of its items
with runs as (
    select * from raw.runs where run_id = $run_id
),

items as (
    select
        runs.run_id,
        items.item_id,
        items.popularity
    from raw.items as items
    inner join runs on items.dataset = runs.dataset
)

select
    run_id,
    item_id,
    if(
        md5_number_lower(concat_ws('|', $seed, 'item', item_id)) % 2 = 0, 'A', 'B'
    ) as item_side,
    ntile($popularity_bins) over (order by popularity, item_id) as popularity_bin
from items
