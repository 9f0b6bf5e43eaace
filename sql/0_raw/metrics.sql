-- metrics: every number measured while training and evaluating a run.
-- grain:  run_id, split, epoch, metric
-- reads:  none
-- yields:
--   run_id VARCHAR run
--   split  VARCHAR train, dev, test, heldout or all
--   epoch  INTEGER 1-based; 0 is the final model
--   metric VARCHAR name, as NDCG@10
--   value  DOUBLE  in the unit of the metric
create table if not exists raw.metrics (
    run_id varchar not null,
    split varchar not null check (split in ('train', 'dev', 'test', 'heldout', 'all')),
    epoch integer not null check (epoch >= 0),
    metric varchar not null,
    value double
)
