"""From what happened to findings: the rules, the judgement, the remarks, and the report in words."""
