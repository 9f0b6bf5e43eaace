-- latent_examples: the items that a latent's strongest construct cases recommend first.
-- grain:  rank
-- reads:  raw.runs, raw.items, concepts.example_items
-- params:
--   $run_id    VARCHAR the SAE run
--   $latent_id BIGINT  the latent, 0-based
-- yields:
--   rank    BIGINT  1 = strongest
--   item_id INTEGER 1-based
--   title   VARCHAR display title, or the source's id where there is none
--   value   FLOAT   highest activation
--   n_cases BIGINT  construct cases with this first recommendation on which the latent fires
select
    examples.rank,
    examples.item_id,
    coalesce(items.title, items.source_item_id) as title,
    examples.value,
    examples.n_cases
from concepts.example_items as examples
inner join raw.runs as runs on examples.run_id = runs.run_id
inner join raw.items as items
    on runs.dataset = items.dataset and examples.item_id = items.item_id
where examples.run_id = $run_id and examples.latent_id = $latent_id
order by examples.rank
