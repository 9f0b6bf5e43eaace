-- runs: one row per trained recommender or sparse autoencoder.
-- grain:  run_id
-- reads:  none
-- yields:
--   run_id           VARCHAR   short, readable and unique
--   kind             VARCHAR   recommender or sae
--   parent_run_id    VARCHAR   of an sae: its recommender; of a finetuned one: the pretrained
--   dataset          VARCHAR   data set that it was made from, as in raw.datasets
--   model            VARCHAR   name of the model
--   params           JSON      the configuration
--   data_fingerprint VARCHAR   fingerprint of the data set it was trained on
--   code_version     VARCHAR   version of recsae
--   seed             BIGINT    seed of every random choice
--   status           VARCHAR   running, done or failed
--   started          TIMESTAMP UTC
--   seconds          DOUBLE    wall time; NULL until it ended
create table if not exists raw.runs (
    run_id varchar not null,
    kind varchar not null check (kind in ('recommender', 'sae')),
    parent_run_id varchar,
    dataset varchar not null,
    model varchar not null,
    params json not null,
    data_fingerprint varchar not null,
    code_version varchar not null,
    seed bigint not null,
    status varchar not null check (status in ('running', 'done', 'failed')),
    started timestamp not null,
    seconds double
)
