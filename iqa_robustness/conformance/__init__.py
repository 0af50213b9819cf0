"""The conformance kit: what every metric, attack and defense must satisfy, as checks that say what to fix.

`iqa-robustness qualify` runs them on anybody's component, from an installed package; the suites in
`test_suites/conformance` run the same checks on every registered one.
"""
