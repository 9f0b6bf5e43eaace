-- judge_histogram: latents by recall, specificity and confidence, as the reference draws them.
-- grain:  measure, bin
-- reads:  confidence.judge_scores
-- params:
--   $run_id VARCHAR the SAE run
--   $judge  VARCHAR builtin, or the name of a language model
-- yields:
--   measure   VARCHAR recall, specificity or confidence
--   bin       INTEGER 0-based
--   centre    DOUBLE  middle of the bin; recall and specificity have steps of .2, confidence of .1
--   n_latents BIGINT  latents in the bin
--   share     DOUBLE  of the latents that have this measure, 0-1
-- source: the histograms of the reference's last script: bins around 0, .2 .. 1 and 0, .1 .. 1. A
--         latent without an active verifying case has no recall; the reference counts it as 0.
with scores as (
    select * from confidence.judge_scores where run_id = $run_id and judge = $judge
),

measures as (
    select
        'recall' as measure,
        5 as n_steps,
        recall as value
    from scores
    union all
    select
        'specificity' as measure,
        5 as n_steps,
        specificity as value
    from scores
    union all
    select
        'confidence' as measure,
        10 as n_steps,
        confidence as value
    from scores
),

counts as (
    select
        measure,
        floor(value * n_steps + 0.5 + 1e-9)::integer as bin,
        count(*) as n_latents
    from measures
    where value is not null
    group by measure, bin
),

totals as (
    select
        measure,
        sum(n_latents) as n_latents
    from counts
    group by measure
),

bins as (
    select
        names.measure,
        names.n_steps,
        unnest(generate_series(0, names.n_steps))::integer as bin
    from (
        values ('recall', 5), ('specificity', 5), ('confidence', 10)
    ) as names (measure, n_steps)
)

select
    bins.measure,
    bins.bin,
    bins.bin / bins.n_steps as centre,
    coalesce(counts.n_latents, 0) as n_latents,
    (coalesce(counts.n_latents, 0) / totals.n_latents)::double as share
from bins
left join counts on bins.measure = counts.measure and bins.bin = counts.bin
left join totals on bins.measure = totals.measure
order by bins.n_steps, bins.measure, bins.bin
