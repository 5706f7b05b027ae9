"""The template of the report as a page: one file, no script, nothing from anywhere else."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8886; }
td + td, th + th { white-space: nowrap; }
section { border: 1px solid #8886; border-radius: .4rem; padding: .2rem 1rem; margin: 1rem 0; }
h3 { margin-bottom: 0; }
.when { margin: 0; opacity: .75; }
.good { font-weight: 600; }
.bad { font-weight: 600; border-left: .3rem solid #c33; padding-left: .6rem; }
@media print { section { break-inside: avoid; } }
</style>
</head>
<body>
<h1>$title</h1>
<p>$node, with $peer; made $made</p>
$begun
<h2>Last passed</h2>
<table>
<thead><tr><th>drill</th><th>when</th><th></th></tr></thead>
<tbody>
$passed
</tbody>
</table>
<h2>Measured</h2>
$results
</body>
</html>
"""
