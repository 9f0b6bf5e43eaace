-- overview: the run card: what was trained on what, what the SAE keeps, and how many concepts hold.
-- grain:  run_id
-- reads:  raw.runs, raw.datasets, raw.metrics, raw.activations, staging.cases,
--         staging.level_edges, concepts.labels, confidence.scores, confidence.verification
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id                 VARCHAR the SAE run
--   recommender_run_id     VARCHAR the run whose vectors it explains
--   dataset                VARCHAR name of the data set
--   model                  VARCHAR recommender
--   n_users                BIGINT  users of the data set
--   n_items                BIGINT  items of the data set
--   n_interactions         BIGINT  interactions of the data set
--   n_item_tags            BIGINT  (item, tag) pairs of the data set; 0: no latent can be named
--   hr_10                  DOUBLE  test HR@10 of the recommender
--   ndcg_10                DOUBLE  test NDCG@10 of the recommender
--   ndcg_10_sae            DOUBLE  test NDCG@10 with vectors rebuilt by the SAE
--   ndcg_10_kept           DOUBLE  share of the test NDCG@10 that is kept
--   ndcg_10_kept_heldout   DOUBLE  the same over users whose vectors never trained the SAE
--   ndcg_10_kept_alone     DOUBLE  share that the interpretable latents keep without the others
--   k                      INTEGER latents kept per case
--   n_latents              INTEGER size of the dictionary
--   fvu_train              DOUBLE  fraction of variance unexplained, training vectors
--   fvu_heldout            DOUBLE  the same for vectors of held-out users
--   l0                     DOUBLE  mean active latents per held-out vector
--   dead_share             DOUBLE  share of latents that fire on no case, of any user
--   n_interpretable        BIGINT  latents whose concept holds
--   n_not_shown            BIGINT  latents judged, whose concept does not hold well enough
--   n_too_rare             BIGINT  latents with too few held-out active cases to judge
--   n_dead                 BIGINT  latents that fire on no case
--   n_concepts             BIGINT  distinct leading tags among the interpretable latents
--   n_trend                BIGINT  latents whose cases popularity or age of items tells as well
--   n_trend_only           BIGINT  those of them whose concept does not hold
--   n_permuted             DOUBLE  judged latents that reach the least interpretable confidence
--                                  under permuted tags, mean over rounds
--   mean_confidence        DOUBLE  mean balanced accuracy of the judged latents
--   mean_confidence_null   DOUBLE  the same with permuted tags
--   mean_auc               DOUBLE  mean AUC of the judged latents
--   user_coverage          DOUBLE  share of verifying users with an active interpretable latent
--   reference_confidence   DOUBLE  mean confidence by the paper's protocol over all its latents
--   reference_recall       DOUBLE  mean recall by the paper's protocol
--   reference_specificity  DOUBLE  mean specificity by the paper's protocol
with runs as (
    select * from raw.runs where run_id = $run_id
),

scores as (
    select * from confidence.scores where run_id = $run_id
),

labels as (
    select * from concepts.labels where run_id = $run_id
),

judged as (
    select * from scores where status in ('interpretable', 'not shown')
),

sae_metrics as (
    select
        max(value) filter (where split = 'test' and metric = 'NDCG@10') as ndcg_10_sae,
        max(value) filter (where split = 'test' and metric = 'NDCG@10 kept') as ndcg_10_kept,
        max(value) filter (where split = 'heldout' and metric = 'NDCG@10 kept')
            as ndcg_10_kept_heldout,
        max(value) filter (where split = 'test' and metric = 'NDCG@10 kept by interpretable')
            as ndcg_10_kept_alone,
        max(value) filter (where split = 'all' and metric = 'users covered') as user_coverage,
        max(value) filter (where split = 'train' and metric = 'FVU') as fvu_train,
        max(value) filter (where split = 'heldout' and metric = 'FVU') as fvu_heldout,
        max(value) filter (where split = 'heldout' and metric = 'L0') as l0,
        max(value) filter (where split = 'all' and metric = 'dead') as dead_share
    from raw.metrics
    where run_id = $run_id and epoch = 0
),

recommender_metrics as (
    select
        max(metrics.value) filter (where metrics.metric = 'HR@10') as hr_10,
        max(metrics.value) filter (where metrics.metric = 'NDCG@10') as ndcg_10
    from raw.metrics as metrics
    inner join runs on metrics.run_id = runs.parent_run_id
    where metrics.split = 'test' and metrics.epoch = 0
),

counts as (
    select
        count(*) as n_latents,
        count(*) filter (where scores.status = 'interpretable') as n_interpretable,
        count(*) filter (where scores.status = 'not shown') as n_not_shown,
        count(*) filter (where scores.status = 'too rare') as n_too_rare,
        count(*) filter (where scores.status = 'dead') as n_dead,
        count(distinct labels.leading_tag) filter (where scores.status = 'interpretable')
            as n_concepts,
        count(*) filter (where scores.trend is not null) as n_trend,
        count(*) filter (where scores.trend is not null and scores.status <> 'interpretable')
            as n_trend_only,
        min(scores.confidence) filter (where scores.status = 'interpretable') as least,
        avg(scores.reference_confidence order by scores.latent_id) as reference_confidence,
        avg(scores.reference_recall order by scores.latent_id) as reference_recall,
        avg(scores.reference_specificity order by scores.latent_id) as reference_specificity
    from scores
    left join labels on scores.latent_id = labels.latent_id
),

means as (
    select
        avg(confidence order by latent_id) as mean_confidence,
        avg(null_mean order by latent_id) as mean_confidence_null,
        avg(auc order by latent_id) as mean_auc
    from judged
),

permuted as (
    select
        count(*) filter (where verification.balanced_accuracy >= counts.least)
        / nullif(count(distinct verification.permutation), 0) as n_permuted
    from confidence.verification as verification
    inner join judged on verification.latent_id = judged.latent_id
    cross join counts
    where verification.run_id = $run_id and verification.permutation > 0
),

-- of a run that was verified before its coverage became a metric
uncounted as (
    select
        edges.run_id,
        edges.edges
    from staging.level_edges as edges
    cross join sae_metrics
    where edges.run_id = $run_id and sae_metrics.user_coverage is null
),

covered as (
    select count(distinct activations.user_id) as n_users
    from raw.activations as activations
    inner join scores on activations.latent_id = scores.latent_id
    inner join uncounted as edges on activations.run_id = edges.run_id
    inner join staging.cases as cases
        on activations.run_id = cases.run_id and activations.case_id = cases.case_id
    where
        activations.run_id = $run_id
        and scores.status = 'interpretable'
        and cases.side = 'verify'
        and activations.value::double >= edges.edges[4]
),

verifying as (
    select count(distinct user_id) as n_users
    from staging.cases
    where run_id = $run_id and side = 'verify'
)

select
    runs.run_id,
    runs.parent_run_id as recommender_run_id,
    runs.dataset,
    recommenders.model,
    datasets.n_users,
    datasets.n_items,
    datasets.n_interactions,
    datasets.n_item_tags,
    recommender_metrics.hr_10,
    recommender_metrics.ndcg_10,
    sae_metrics.ndcg_10_sae,
    sae_metrics.ndcg_10_kept,
    sae_metrics.ndcg_10_kept_heldout,
    sae_metrics.ndcg_10_kept_alone,
    (runs.params ->> '$.k')::integer as k,
    (runs.params ->> '$.n_latents')::integer as n_latents,
    sae_metrics.fvu_train,
    sae_metrics.fvu_heldout,
    sae_metrics.l0,
    -- of a run that was trained before it became a metric: as verified
    coalesce(sae_metrics.dead_share, counts.n_dead / nullif(counts.n_latents, 0)) as dead_share,
    counts.n_interpretable,
    counts.n_not_shown,
    counts.n_too_rare,
    counts.n_dead,
    counts.n_concepts,
    counts.n_trend,
    counts.n_trend_only,
    permuted.n_permuted,
    means.mean_confidence,
    means.mean_confidence_null,
    means.mean_auc,
    coalesce(sae_metrics.user_coverage, covered.n_users / nullif(verifying.n_users, 0))
        as user_coverage,
    counts.reference_confidence,
    counts.reference_recall,
    counts.reference_specificity
from runs
left join raw.runs as recommenders on runs.parent_run_id = recommenders.run_id
left join raw.datasets as datasets on runs.dataset = datasets.dataset
cross join recommender_metrics
cross join sae_metrics
cross join counts
cross join means
cross join permuted
cross join covered
cross join verifying
