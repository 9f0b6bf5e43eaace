-- latent_tags: the tags of one latent, with what each half of the items says of them.
-- grain:  tag
-- reads:  concepts.concept_tags
-- params:
--   $run_id    VARCHAR the SAE run
--   $latent_id BIGINT  the latent, 0-based
-- yields:
--   tag VARCHAR kind:value
--   z_a DOUBLE  log-odds in standard deviations on items of side A; NULL = not in its profile
--   z_b DOUBLE  the same on side B
select
    tag,
    max(z) filter (where item_side = 'A') as z_a,
    max(z) filter (where item_side = 'B') as z_b
from concepts.concept_tags
where run_id = $run_id and latent_id = $latent_id
group by tag
order by coalesce(z_a, 0) + coalesce(z_b, 0) desc, tag
