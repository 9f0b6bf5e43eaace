-- descriptions: one sentence per latent, written by a language model from its describing cases.
-- grain:  run_id, model, latent_id
-- reads:  none
-- yields:
--   run_id      VARCHAR SAE run
--   model       VARCHAR the model's name
--   latent_id   INTEGER 0-based
--   description VARCHAR the sentence on one line; NULL when the reply held none
--   n_cases     BIGINT  describing cases that the model saw
--   was_cut     BOOLEAN the reply reached its limit of tokens
--   reply_id    VARCHAR the reply in raw.replies
create table if not exists raw.descriptions (
    run_id varchar not null,
    model varchar not null,
    latent_id integer not null,
    description varchar,
    n_cases bigint not null,
    was_cut boolean not null,
    reply_id varchar not null
)
