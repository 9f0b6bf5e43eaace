-- runs: every recommender and autoencoder with its key figures.
-- grain:  run_id
-- reads:  raw.runs, raw.stages, raw.metrics, concepts.labels, confidence.scores
-- yields:
--   run_id             VARCHAR   short, readable and unique
--   kind               VARCHAR   recommender or sae
--   recommender_run_id VARCHAR   of an sae: the run whose vectors it explains; else NULL
--   dataset            VARCHAR   data set that it was made from, as in raw.datasets
--   model              VARCHAR   name of the model
--   status             VARCHAR   running, done or failed
--   stages             VARCHAR[] stages that are done, in the order of their start
--   started            TIMESTAMP UTC
--   seconds            DOUBLE    wall time of the training; NULL until it ended
--   k                  INTEGER   of an sae: latents kept per case
--   n_latents          INTEGER   of an sae: size of the dictionary
--   test_hr_10         DOUBLE    test HR@10; of an sae with the vectors it rebuilds
--   test_ndcg_10       DOUBLE    test NDCG@10; of an sae with the vectors it rebuilds
--   ndcg_10_kept       DOUBLE    of an sae: share of its recommender's test NDCG@10, 0-1
--   fvu_heldout        DOUBLE    of an sae: variance unexplained on users it never trained on
--   n_interpretable    BIGINT    latents whose concept holds; NULL before the confidence stage
--   n_concepts         BIGINT    distinct leading tags among them
--   mean_confidence    DOUBLE    mean balanced accuracy of the latents that can be judged
with finished as (
    select
        run_id,
        list(stage order by started, stage) as stages
    from raw.stages
    where status = 'done'
    group by run_id
),

metrics as (
    select
        run_id,
        max(value) filter (where split = 'test' and metric = 'HR@10') as test_hr_10,
        max(value) filter (where split = 'test' and metric = 'NDCG@10') as test_ndcg_10,
        max(value) filter (where split = 'test' and metric = 'NDCG@10 kept') as ndcg_10_kept,
        max(value) filter (where split = 'heldout' and metric = 'FVU') as fvu_heldout
    from raw.metrics
    where epoch = 0
    group by run_id
),

found as (
    select
        scores.run_id,
        count(*) filter (where scores.status = 'interpretable') as n_interpretable,
        count(distinct labels.leading_tag) filter (where scores.status = 'interpretable')
            as n_concepts,
        avg(scores.confidence order by scores.latent_id) filter (
            where scores.status in ('interpretable', 'not shown')
        ) as mean_confidence
    from confidence.scores as scores
    left join concepts.labels as labels
        on scores.run_id = labels.run_id and scores.latent_id = labels.latent_id
    group by scores.run_id
)

select
    runs.run_id,
    runs.kind,
    case when runs.kind = 'sae' then runs.parent_run_id end as recommender_run_id,
    runs.dataset,
    runs.model,
    runs.status,
    coalesce(finished.stages, []) as stages,
    runs.started,
    runs.seconds,
    case when runs.kind = 'sae' then (runs.params ->> '$.k')::integer end as k,
    case when runs.kind = 'sae' then (runs.params ->> '$.n_latents')::integer end as n_latents,
    metrics.test_hr_10,
    metrics.test_ndcg_10,
    metrics.ndcg_10_kept,
    metrics.fvu_heldout,
    found.n_interpretable,
    found.n_concepts,
    found.mean_confidence
from raw.runs as runs
left join finished on runs.run_id = finished.run_id
left join metrics on runs.run_id = metrics.run_id
left join found on runs.run_id = found.run_id
