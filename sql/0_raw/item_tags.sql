-- item_tags: what is known about the items, one row per item and tag.
-- grain:  dataset, item_id, tag
-- reads:  none
-- yields:
--   dataset VARCHAR name of the data set
--   item_id INTEGER 1-based
--   tag     VARCHAR kind and value, as genre:Comedy
--   kind    VARCHAR genre, year, decade, title_word, category, brand, complement, substitute,
--                   user_tag, noise or the column it came from
create table if not exists raw.item_tags (
    dataset varchar not null,
    item_id integer not null check (item_id > 0),
    tag varchar not null,
    kind varchar not null
)
