-- interactions: what each user chose, in order, with the split it belongs to.
-- grain:  dataset, user_id, position
-- reads:  none
-- yields:
--   dataset  VARCHAR name of the data set
--   user_id  INTEGER 1-based
--   position INTEGER 1-based order of the user's interactions
--   item_id  INTEGER 1-based
--   time     BIGINT  seconds since 1970, or the order where the source has no time
--   split    VARCHAR train, dev or test
create table if not exists raw.interactions (
    dataset varchar not null,
    user_id integer not null check (user_id > 0),
    position integer not null check (position > 0),
    item_id integer not null check (item_id > 0),
    time bigint,
    split varchar not null check (split in ('train', 'dev', 'test'))
)
