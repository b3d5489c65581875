"""What LiteLLM's configuration says that has no place in a scenario, and why."""

from __future__ import annotations

from llmsim.scenario.document import Path
from llmsim.scenario.imports.plan import NoteKind

__all__ = ["reason"]

_HOUSEKEEPING = "accounts, logging and the proxy's own housekeeping: nothing of it changes how requests are answered"
_PARAMETERS = "parameters of requests, or ways to send them: a scenario's traffic says what is asked for"

#: Sections and keys without an influence on how a request is answered.
_QUIET = frozenset(
    """
    environment_variables general_settings callback_settings guardrails finetune_settings files_settings
    assistant_settings credential_list mcp_servers mcp_tools search_tools vector_store_registry prompts include
    litellm_settings.drop_params litellm_settings.set_verbose litellm_settings.json_logs litellm_settings.telemetry
    litellm_settings.success_callback litellm_settings.failure_callback litellm_settings.callbacks
    litellm_settings.service_callbacks litellm_settings.turn_off_message_logging
    litellm_settings.redact_user_api_key_info litellm_settings.langfuse_default_tags litellm_settings.modify_params
    litellm_settings.default_team_settings litellm_settings.force_ipv4 litellm_settings.key_generation_settings
    litellm_settings.default_internal_user_params litellm_settings.enable_preview_features
    litellm_settings.enable_json_schema_validation litellm_settings.ssl_verify litellm_settings.mcp_aliases
    litellm_settings.upperbound_key_generate_params litellm_settings.add_function_to_prompt
    router_settings.set_verbose router_settings.debug_level router_settings.client_ttl
    router_settings.alerting_config router_settings.assistants_config router_settings.ignore_invalid_deployments
    router_settings.cache_kwargs router_settings.redis_db router_settings.router_general_settings
    router_settings.default_priority router_settings.polling_interval router_settings.search_tools
    router_settings.guardrail_list
    """.split()  # noqa: SIM905 - forty names in quotes are harder to read
)
#: Keys of a deployment that are about what is sent.
_REQUEST = frozenset(
    """
    temperature max_tokens max_completion_tokens top_p top_k stop seed tools tool_choice response_format
    reasoning_effort thinking frequency_penalty presence_penalty logit_bias stream drop_params additional_drop_params
    custom_llm_provider use_in_pass_through use_litellm_proxy merge_reasoning_content_in_choices extra_body
    mock_response mock_timeout region_name input_cost_per_second output_cost_per_second
    cache_control_injection_points litellm_credential_name configurable_clientside_auth_params s3_bucket_name
    s3_region_name mode id supports_function_calling supports_vision supported_environments access_groups team_id
    health_check_timeout health_check_model db_model disable_background_health_check description default
    max_output_tokens litellm_provider
    """.split()  # noqa: SIM905 - as above
)
#: Keys that do have one, and what can be done about it.
_LOST: dict[str, str] = {
    "max_budget": "a spending limit; write a policy like budget: {limit: $100, window: month}",
    "budget_duration": "a spending limit's window; write a policy like budget: {limit: $100, window: month}",
    "provider_budget_config": "spending limits by vendor; a budget among gateway.upstream limits each upstream alike",
    "max_parallel_requests": "a limit of a key; write a policy like bulkhead or concurrency_limit",
    "global_max_parallel_requests": "the whole proxy's limit; write a policy like concurrency_limit",
    "enable_tag_filtering": "routing by tags of requests",
    "tag_filtering_match_any": "routing by tags of requests",
    "tags": "routing by tags of requests",
    "optional_pre_call_checks": "checks before the choice of a deployment; sticky ones: route with strategy: sticky",
    "deployment_affinity_ttl_seconds": "sticky routing; see route with strategy: sticky",
    "routing_groups": "other strategies for some of the groups",
    "model_group_retry_policy": "other retries for some of the groups",
    "default_litellm_params": _PARAMETERS,
    "caching_groups": "one cache entry for several groups",
    "cache_responses": "a second switch of the cache; litellm_settings.cache is what is read",
    "max_retries": "a second loop of retries below the router's; LiteLLM's documentation says the router sets it to 0",
    "max_file_size_mb": "a limit of uploads",
    "enable_weighted_failover": "which deployment is tried next; here one that has not been tried, by its weight",
}


def reason(path: Path) -> tuple[NoteKind, str] | None:
    """Why what stands at `path` is not in the scenario; None where the key is not known.

    Examples
    --------
    >>> reason(("litellm_settings", "drop_params"))[0], reason(("router_settings", "num_retrys"))
    ('not copied', None)
    """
    words = [part for part in path if isinstance(part, str)]
    name = words[-1]
    if name in _LOST:
        return "not expressed", _LOST[name]
    if words[0] in _QUIET or ".".join(words) in _QUIET:
        return "not copied", _HOUSEKEEPING
    if "cache_params" in words:
        return "not copied", "where LiteLLM's cache keeps its answers"
    if words[0] == "model_list" and name in _REQUEST:
        return "not copied", _PARAMETERS
    return None
