-- users: the dense user ids of a data set and the ids of its source.
-- grain:  dataset, user_id
-- reads:  none
-- yields:
--   dataset        VARCHAR name of the data set
--   user_id        INTEGER 1-based
--   source_user_id VARCHAR id in the source files
create table if not exists raw.users (
    dataset varchar not null,
    user_id integer not null check (user_id > 0),
    source_user_id varchar not null
)
