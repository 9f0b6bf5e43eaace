-- decoder_items: the items that each latent's decoder row points to.
-- grain:  run_id, latent_id, rank
-- reads:  none
-- yields:
--   run_id    VARCHAR SAE run
--   latent_id INTEGER 0-based
--   rank      INTEGER 1 (best) .. 10
--   item_id   INTEGER 1-based
--   score     FLOAT   decoder row . item vector: what one unit of the latent adds to the score
create table if not exists raw.decoder_items (
    run_id varchar not null,
    latent_id integer not null,
    rank integer not null check (rank > 0),
    item_id integer not null check (item_id > 0),
    score float not null
)
