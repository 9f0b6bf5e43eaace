-- latent_descriptions: what language models wrote of one latent.
-- grain:  model
-- reads:  raw.descriptions
-- params:
--   $run_id    VARCHAR the SAE run
--   $latent_id BIGINT  the latent, 0-based
-- yields:
--   model       VARCHAR model that wrote
--   description VARCHAR its sentence
select
    model,
    description
from raw.descriptions
where run_id = $run_id and latent_id = $latent_id and description is not null
order by model
