-- judgements: what each judge was asked last, and with what input.
-- grain:  run_id, task, judge
-- reads:  none
-- yields:
--   run_id       VARCHAR   SAE run
--   task         VARCHAR   describe or predict
--   judge        VARCHAR   builtin, or the name of a language model
--   params       JSON      the configuration
--   input_hash   VARCHAR   digest of configuration and inputs; equal means nothing to do
--   cases_hash   VARCHAR   digest of what decides which cases describe and which verify
--   n_latents    BIGINT    latents it was asked about
--   n_unparsed   BIGINT    replies that could not be read
--   finished     TIMESTAMP UTC
--   seconds      DOUBLE    wall time of the call that finished it
create table if not exists raw.judgements (
    run_id varchar not null,
    task varchar not null check (task in ('describe', 'predict')),
    judge varchar not null,
    params json not null,
    input_hash varchar not null,
    cases_hash varchar not null,
    n_latents bigint not null,
    n_unparsed bigint not null,
    finished timestamp not null,
    seconds double not null
)
