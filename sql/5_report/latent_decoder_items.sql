-- latent_decoder_items: the items whose score one latent raises most, read off its decoder row.
-- grain:  rank
-- reads:  raw.runs, raw.items, raw.decoder_items
-- params:
--   $run_id    VARCHAR the SAE run
--   $latent_id BIGINT  the latent, 0-based
-- yields:
--   rank    INTEGER 1 = best
--   item_id INTEGER 1-based
--   title   VARCHAR display title, or the source's id where there is none
--   score   FLOAT   what one unit of the latent adds to the item's score
select
    best.rank,
    best.item_id,
    coalesce(items.title, items.source_item_id) as title,
    best.score
from raw.decoder_items as best
inner join raw.runs as runs on best.run_id = runs.run_id
inner join raw.items as items on runs.dataset = items.dataset and best.item_id = items.item_id
where best.run_id = $run_id and best.latent_id = $latent_id
order by best.rank
