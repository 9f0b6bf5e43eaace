-- stages: which stages of a run are done, and with what input.
-- grain:  run_id, stage
-- reads:  none
-- yields:
--   run_id         VARCHAR   run
--   stage          VARCHAR   train, encode, concepts or confidence
--   params         JSON      the configuration of the stage
--   input_hash     VARCHAR   digest of configuration and inputs; equal means nothing to do
--   status         VARCHAR   running, done or failed
--   started        TIMESTAMP UTC
--   seconds        DOUBLE    wall time; NULL until it ended
--   peak_memory_mb DOUBLE    highest resident memory of the process, MB
create table if not exists raw.stages (
    run_id varchar not null,
    stage varchar not null check (stage in ('train', 'encode', 'concepts', 'confidence')),
    params json not null,
    input_hash varchar not null,
    status varchar not null check (status in ('running', 'done', 'failed')),
    started timestamp not null,
    seconds double,
    peak_memory_mb double
)
