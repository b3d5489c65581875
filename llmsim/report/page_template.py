"""The bones of a page: what stands where, in words that a screen reader can walk through."""

from __future__ import annotations

__all__ = ["TEMPLATE"]

TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<style>
{{ style }}</style>
</head>
<body>
<a class="skip" href="#main">To the verdicts</a>
{{ patterns }}
<header>
<h1><span class="{{ verdict }}">{{ title }}</span></h1>
{% if description %}<p>{{ description }}</p>
{% endif -%}
<p class="soft">{{ glance }}</p>
<nav aria-label="Sections">{% for id, name in sections %}<a href="#{{ id }}">{{ name }}</a> {% endfor %}\
{% if index %}<a href="{{ index }}">All scenarios</a>{% endif %}</nav>
</header>
<main id="main">
<section id="verdicts" aria-labelledby="h-verdicts"><h2 id="h-verdicts">Verdicts</h2>
{% if slo %}<div class="scroll"><table><thead><tr><th scope="col">verdict</th><th scope="col">SLO</th>\
<th scope="col" class="number">measured</th><th scope="col" class="number">95 % interval</th>\
<th scope="col" class="number">line</th>{% if remarks %}<th scope="col">remark</th>{% endif %}</tr></thead><tbody>
{% for one in slo %}<tr><td class="word {{ one.verdict }}">{{ one.mark }} {{ one.verdict }}</td>\
<th scope="row"><code>{{ one.slo }}</code></th><td class="number">{{ one.measured }}</td>\
<td class="number">{{ one.interval }}</td><td class="number">{{ one.line }}</td>\
{% if remarks %}<td>{{ one.reason }}</td>{% endif %}</tr>
{% endfor %}</tbody></table></div>
{% if common %}<p>{{ common }}</p>
{% endif %}{% else %}<p>The scenario has no SLO, so there is nothing to judge.</p>
{% endif -%}
{% if expected %}<p>{{ expected }}</p>
{% endif -%}
{% if advice %}<h3>Why</h3>
<ul>{% for line in advice %}<li>{{ line }}</li>{% endfor %}</ul>
{% endif -%}
{% for note in notes %}<p>Note: {{ note }}</p>
{% endfor -%}
</section>
{% if pictures %}<section id="time" class="sheet" aria-labelledby="h-time"><h2 id="h-time">What happened</h2>
{% for one in pictures -%}
<figure>{{ one.drawing }}
<figcaption>{{ one.caption }}</figcaption></figure>
{% endfor %}</section>
{% endif -%}
<section id="numbers" aria-labelledby="h-numbers"><h2 id="h-numbers">Numbers</h2>
<table><caption>A replication, all measured requests; "never" is the time of a request that failed</caption><tbody>
{% for label, text in numbers %}<tr><th scope="row">{{ label }}</th><td>{{ text }}</td></tr>
{% endfor %}</tbody></table>
</section>
<section id="providers" aria-labelledby="h-providers"><h2 id="h-providers">Providers</h2>
<div class="scroll"><table><caption>Attempts and money are per replication; shares are of the provider's attempts; \
ttft is to the first chunk of attempts that had one</caption><thead><tr>\
{% for name in head %}<th scope="col"{% if not loop.first %} class="number"{% endif %}>{{ name }}</th>{% endfor %}\
</tr></thead><tbody>
{% for row in providers %}<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td class="number">{{ cell }}\
</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
</section>
{% if bill %}<section id="cost" aria-labelledby="h-cost"><h2 id="h-cost">Cost</h2>
<figure>{{ bill }}
<figcaption>What a replication paid for what, from work of use to the total.</figcaption></figure>
</section>
{% endif -%}
{% if worst %}<section id="worst" aria-labelledby="h-worst"><h2 id="h-worst">The worst requests</h2>
<figure>{{ key }}</figure>
{% for one in worst %}<div class="request"><h3>{{ one.title }}</h3>
<p class="soft">{{ one.why }}{% if one.of %} {{ one.of }}{% endif %}</p>
<figure>{{ one.drawing }}</figure></div>
<details><summary>The same in words</summary><pre>{{ one.text }}</pre></details>
{% endfor %}</section>
{% endif -%}
<section id="config" aria-labelledby="h-config"><h2 id="h-config">Configuration</h2>
{% if policies %}<table><caption>Policies of the gateway, the outermost first; durations in seconds, rates per second, \
shares of 1</caption><thead><tr><th scope="col">where</th><th scope="col">policy</th>\
<th scope="col">settings that are not the default</th></tr></thead><tbody>
{% for scope, kind, settings in policies %}<tr><td>{{ scope }}</td><th scope="row"><code>{{ kind }}</code></th>\
<td><code>{{ settings }}</code></td></tr>
{% endfor %}</tbody></table>
{% else %}<p>The gateway has no policies: each request is one call to the first provider.</p>
{% endif -%}
{% if faults %}<table><caption>Faults, in the same units</caption><thead><tr><th scope="col">fault</th>\
<th scope="col">provider</th><th scope="col">what and when</th></tr></thead><tbody>
{% for name, target, settings in faults %}<tr><th scope="row">{{ name }}</th><td>{{ target }}</td>\
<td><code>{{ settings }}</code></td></tr>
{% endfor %}</tbody></table>
{% endif -%}
<details><summary>The whole scenario, as it was run (JSON)</summary><pre>{{ source }}</pre></details>
</section>
<section id="provenance" aria-labelledby="h-provenance"><h2 id="h-provenance">Where this comes from</h2>
<table><tbody>
{% for label, text in provenance %}<tr><th scope="row">{{ label }}</th><td><code>{{ text }}</code></td></tr>
{% endfor %}</tbody></table>
</section>
</main>
</body>
</html>
"""
