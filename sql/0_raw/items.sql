-- items: the items of a data set.
-- grain:  dataset, item_id
-- reads:  none
-- yields:
--   dataset        VARCHAR name of the data set
--   item_id        INTEGER 1-based
--   source_item_id VARCHAR id in the source files
--   title          VARCHAR display title; NULL when the source has none
--   popularity     INTEGER train interactions
create table if not exists raw.items (
    dataset varchar not null,
    item_id integer not null check (item_id > 0),
    source_item_id varchar not null,
    title varchar,
    popularity integer not null check (popularity >= 0)
)
