-- confidence_histogram: judged latents by confidence, beside the same under permuted tags.
-- grain:  bin
-- reads:  confidence.scores, confidence.verification
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   bin             INTEGER number of the bin; bin 10 is .50 to .55
--   low             DOUBLE  lower end, belongs to the bin
--   high            DOUBLE  upper end, belongs to the next bin (1 belongs to the last)
--   n_latents       BIGINT  judged latents
--   n_interpretable BIGINT  those that are interpretable
--   n_permuted      DOUBLE  mean number of the same latents in a round of permuted tags
with judged as (
    select *
    from confidence.scores
    where run_id = $run_id and status in ('interpretable', 'not shown')
),

rounds as (
    select
        verification.permutation,
        verification.balanced_accuracy
    from confidence.verification as verification
    inner join judged on verification.latent_id = judged.latent_id
    where verification.run_id = $run_id and verification.permutation > 0
),

n_rounds as (
    select count(distinct permutation) as n from rounds
),

targets as (
    select
        least(floor(confidence * 20 + 1e-9), 19)::integer as bin,
        count(*) as n_latents,
        count(*) filter (where status = 'interpretable') as n_interpretable
    from judged
    group by bin
),

decoys as (
    select
        least(floor(balanced_accuracy * 20 + 1e-9), 19)::integer as bin,
        count(*) as n_permuted
    from rounds
    group by bin
),

bins as (
    select unnest(generate_series(0, 19))::integer as bin
)

select
    bins.bin,
    bins.bin / 20 as low,
    (bins.bin + 1) / 20 as high,
    coalesce(targets.n_latents, 0) as n_latents,
    coalesce(targets.n_interpretable, 0) as n_interpretable,
    coalesce(decoys.n_permuted / n_rounds.n, 0) as n_permuted
from bins
cross join n_rounds
left join targets on bins.bin = targets.bin
left join decoys on bins.bin = decoys.bin
order by bins.bin
