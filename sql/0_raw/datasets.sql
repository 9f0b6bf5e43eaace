-- datasets: one row per loaded data set.
-- grain:  dataset
-- reads:  none
-- yields:
--   dataset        VARCHAR   name of the data set; NAME@FINGERPRINT for content that other content
--                            has taken the name of, while a run that was made from it is there
--   fingerprint    VARCHAR   sha256 of the canonical content
--   info           JSON      the whole dataset.json: options, sources, counts, dropped rows
--   n_users        BIGINT    users with at least one interaction
--   n_items        BIGINT    items with at least one interaction
--   n_interactions BIGINT    kept interactions, all splits
--   n_item_tags    BIGINT    (item, tag) pairs
--   loaded         TIMESTAMP UTC
create table if not exists raw.datasets (
    dataset varchar not null,
    fingerprint varchar not null,
    info json not null,
    n_users bigint not null,
    n_items bigint not null,
    n_interactions bigint not null,
    n_item_tags bigint not null,
    loaded timestamp not null
)
