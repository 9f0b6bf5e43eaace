-- sweep: the autoencoders of a recommender as a grid: means over seeds, spread, Pareto front.
-- grain:  run_id, cell
-- reads:  raw.runs, raw.stages, raw.metrics, raw.activations, staging.cases, staging.level_edges,
--         concepts.labels, confidence.scores
-- params:
--   $run_id VARCHAR the recommender run
-- yields:
--   run_id               VARCHAR   the recommender run
--   cell                 BIGINT    number of the cell, from 1, by k, scale, rate and settings
--   k                    INTEGER   latents kept per case
--   scale                INTEGER   dictionary size / width of the vectors
--   lr                   DOUBLE    highest step size; NULL for imported weights
--   settings             JSON      all other settings but the seed
--   run_ids              VARCHAR[] SAE runs of the cell, by seed: of its newest training version,
--                                  the one of each seed that was started last
--   seeds                BIGINT[]  their seeds
--   n_runs               BIGINT    how many these are
--   n_verified           BIGINT    how many of them have verified concepts
--   n_latents            INTEGER   size of the dictionary
--   fvu_heldout          DOUBLE    fraction of variance unexplained, held-out users, mean over runs
--   fvu_heldout_sd       DOUBLE    standard deviation over the runs; NULL for a single one
--   l0                   DOUBLE    mean active latents per held-out vector
--   l0_sd                DOUBLE    its standard deviation
--   dead_share           DOUBLE    share of latents that fire on no case, of any user
--   dead_share_sd        DOUBLE    its standard deviation
--   ndcg_10_kept         DOUBLE    share of the test NDCG@10 that is kept
--   ndcg_10_kept_sd      DOUBLE    its standard deviation
--   n_interpretable      DOUBLE    latents whose concept holds, mean over the verified runs
--   n_interpretable_sd   DOUBLE    its standard deviation
--   interpretable_share  DOUBLE    the same as a share of the dictionary
--   n_concepts           DOUBLE    distinct leading tags among them
--   user_coverage        DOUBLE    share of verifying users with an active interpretable latent
--   user_coverage_sd     DOUBLE    its standard deviation
--   is_pareto            BOOLEAN   no other cell is as good in NDCG@10 kept (more is better), L0
--                                  (less) and interpretable share (more; none where not verified),
--                                  and better in one; of 0.001, 0.1 and 0.01 less is no difference
with runs as (
    select *
    from raw.runs
    where
        parent_run_id = $run_id
        and kind = 'sae'
        and status = 'done'
        -- nobody trained the controls
        and coalesce(model, '') not in ('untrained', 'neurons')
),

verified as (
    select runs.run_id
    from runs
    inner join raw.stages as stages on runs.run_id = stages.run_id
    where stages.stage = 'confidence' and stages.status = 'done'
),

measured as (
    select
        metrics.run_id,
        max(value) filter (where split = 'heldout' and metric = 'FVU') as fvu_heldout,
        max(value) filter (where split = 'heldout' and metric = 'L0') as l0,
        max(value) filter (where split = 'all' and metric = 'dead') as dead_share,
        max(value) filter (where split = 'test' and metric = 'NDCG@10 kept') as ndcg_10_kept,
        max(value) filter (where split = 'all' and metric = 'users covered') as user_coverage
    from raw.metrics as metrics
    inner join runs on metrics.run_id = runs.run_id
    where metrics.epoch = 0 and not isnan(metrics.value)
    group by metrics.run_id
),

interpretable as (
    select
        scores.run_id,
        scores.latent_id
    from confidence.scores as scores
    inner join verified on scores.run_id = verified.run_id
    where scores.status = 'interpretable'
),

counts as (
    select
        interpretable.run_id,
        count(*) as n_interpretable,
        count(distinct labels.leading_tag) as n_concepts
    from interpretable
    left join concepts.labels as labels
        on interpretable.run_id = labels.run_id and interpretable.latent_id = labels.latent_id
    group by interpretable.run_id
),

-- verified before the coverage became a metric
uncounted as (
    select verified.run_id
    from verified
    left join measured on verified.run_id = measured.run_id
    where measured.user_coverage is null
),

covered as (
    select
        activations.run_id,
        count(distinct activations.user_id) as n_users
    from raw.activations as activations
    inner join uncounted on activations.run_id = uncounted.run_id
    inner join interpretable
        on
            activations.run_id = interpretable.run_id
            and activations.latent_id = interpretable.latent_id
    inner join staging.level_edges as edges on activations.run_id = edges.run_id
    inner join staging.cases as cases
        on activations.run_id = cases.run_id and activations.case_id = cases.case_id
    where cases.side = 'verify' and activations.value::double >= edges.edges[4]
    group by activations.run_id
),

verifying as (
    select
        cases.run_id,
        count(distinct cases.user_id) as n_users
    from staging.cases as cases
    inner join uncounted on cases.run_id = uncounted.run_id
    where cases.side = 'verify'
    group by cases.run_id
),

each_run as (
    select
        runs.run_id,
        runs.seed,
        (runs.params ->> '$.k')::integer as k,
        (runs.params ->> '$.scale')::integer as scale,
        (runs.params ->> '$.lr')::double as lr,
        (runs.params ->> '$.n_latents')::integer as n_latents,
        json_merge_patch(
            -- runs that do not say so have been trained with AuxK
            if(runs.params ->> '$.lr' is null, '{}', '{"revival":"auxk"}'),
            runs.params,
            '{"k":null,"scale":null,"lr":null,"seed":null,"d":null,"n_latents":null}',
            '{"training_version":null}'
        ) as merged,
        coalesce((runs.params ->> '$.training_version')::integer, 0) as training_version,
        runs.started,
        measured.fvu_heldout,
        measured.l0,
        measured.dead_share,
        measured.ndcg_10_kept,
        verified.run_id is not null as is_verified,
        if(verified.run_id is not null, coalesce(counts.n_interpretable, 0), null)
            as n_interpretable,
        if(verified.run_id is not null, coalesce(counts.n_concepts, 0), null) as n_concepts,
        coalesce(
            measured.user_coverage, coalesce(covered.n_users, 0) / nullif(verifying.n_users, 0)
        ) as user_coverage
    from runs
    left join measured on runs.run_id = measured.run_id
    left join verified on runs.run_id = verified.run_id
    left join counts on runs.run_id = counts.run_id
    left join covered on runs.run_id = covered.run_id
    left join verifying on runs.run_id = verifying.run_id
),

ordered as (
    select
        *,
        -- in order of names, so that equal settings are equal texts
        to_json(
            map_from_entries(list_sort(map_entries(merged::map (varchar, json))))
        )::varchar as settings
    from each_run
),

counted as (
    select *
    from ordered
    qualify
        training_version = max(training_version) over (partition by k, scale, lr, settings)
        and row_number() over (
            partition by k, scale, lr, settings, seed
            order by training_version desc, started desc, run_id desc
        ) = 1
),

cells as (
    select
        k,
        scale,
        lr,
        settings,
        list(run_id order by seed, run_id) as run_ids,
        list(seed order by seed, run_id) as seeds,
        count(*) as n_runs,
        count(*) filter (where is_verified) as n_verified,
        max(n_latents) as n_latents,
        avg(fvu_heldout order by seed, run_id) as fvu_heldout,
        stddev_samp(fvu_heldout order by seed, run_id) as fvu_heldout_sd,
        avg(l0 order by seed, run_id) as l0,
        stddev_samp(l0 order by seed, run_id) as l0_sd,
        avg(dead_share order by seed, run_id) as dead_share,
        stddev_samp(dead_share order by seed, run_id) as dead_share_sd,
        avg(ndcg_10_kept order by seed, run_id) as ndcg_10_kept,
        stddev_samp(ndcg_10_kept order by seed, run_id) as ndcg_10_kept_sd,
        avg(n_interpretable) as n_interpretable,
        stddev_samp(n_interpretable order by seed, run_id) as n_interpretable_sd,
        avg(n_interpretable) / max(n_latents) as interpretable_share,
        avg(n_concepts) as n_concepts,
        avg(user_coverage order by seed, run_id) as user_coverage,
        stddev_samp(user_coverage order by seed, run_id) as user_coverage_sd
    from counted
    group by k, scale, lr, settings
),

numbered as (
    select
        row_number() over (order by k, scale, lr, settings) as cell,
        -- rounded by hand: versions of the database differ in the halves of digits after the point
        floor(coalesce(ndcg_10_kept, 0) * 1000 + 0.5) as kept,
        floor(coalesce(l0, k) * 10 + 0.5) as active,
        floor(coalesce(interpretable_share, 0) * 100 + 0.5) as share,
        *
    from cells
),

dominated as (
    select distinct own.cell
    from numbered as own
    inner join numbered as better
        on
            own.kept <= better.kept
            and own.active >= better.active
            and own.share <= better.share
            and (own.kept < better.kept or own.active > better.active or own.share < better.share)
)

select
    $run_id as run_id,
    numbered.cell,
    numbered.k,
    numbered.scale,
    numbered.lr,
    numbered.settings::json as settings,
    numbered.run_ids,
    numbered.seeds,
    numbered.n_runs,
    numbered.n_verified,
    numbered.n_latents,
    numbered.fvu_heldout,
    numbered.fvu_heldout_sd,
    numbered.l0,
    numbered.l0_sd,
    numbered.dead_share,
    numbered.dead_share_sd,
    numbered.ndcg_10_kept,
    numbered.ndcg_10_kept_sd,
    numbered.n_interpretable,
    numbered.n_interpretable_sd,
    numbered.interpretable_share,
    numbered.n_concepts,
    numbered.user_coverage,
    numbered.user_coverage_sd,
    dominated.cell is null as is_pareto
from numbered
left join dominated on numbered.cell = dominated.cell
order by numbered.cell
