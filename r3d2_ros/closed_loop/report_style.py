"""The look of the report: light and dark, plain enough to print."""

STYLE = """
:root{--bg:#fff;--fg:#1c2127;--faint:#6b7480;--line:#e3e6ea;--card:#f7f8fa;--ego:#1769d2;--actor:#d2481e;--other:#8a939e;
--ok:#1d8a4a;--bad:#c9302c;--odd:#b3730a}
@media (prefers-color-scheme:dark){:root{--bg:#15181c;--fg:#e6e9ed;--faint:#97a1ad;--line:#2b3138;--card:#1b1f24;
--ego:#5aa2ff;--actor:#ff8a5c;--other:#7d8793;--ok:#4cc27d;--bad:#ff6b66;--odd:#e0a64a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:28px 24px 60px;max-width:1320px;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:36px 0 8px}h3{font-size:17px;margin:0 0 6px}
.lead{font-size:17px;margin:0;color:var(--faint)}
b.passed{color:var(--ok)}b.failed,b.error{color:var(--bad)}b.invalid{color:var(--odd)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13.5px}
th,td{padding:5px 9px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{font-weight:600}.left{text-align:left}th.name{min-width:13em;white-space:normal;overflow-wrap:anywhere}td.left{white-space:normal;overflow-wrap:anywhere}
tr.sequence th{font-weight:400;padding-left:28px;color:var(--faint)}tr.total{border-top:2px solid var(--fg)}
.scroll{overflow-x:auto}a{color:var(--ego);text-decoration:none}a:hover{text-decoration:underline}
section{margin:34px 0;padding:20px 22px;background:var(--card);border:1px solid var(--line);border-radius:10px}
section ul{margin:0 0 12px;padding-left:20px}
.film{display:grid;grid-template-columns:repeat(4,1fr);gap:8px;margin:0 0 14px}
@media (max-width:700px){.film{grid-template-columns:repeat(2,1fr)}}
figure{margin:0}.film img{display:block;width:100%;border-radius:5px}
figcaption{font-size:12.5px;color:var(--faint);padding:3px 1px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:14px;margin-top:12px}
svg{display:block;width:100%;height:auto;background:var(--bg);border:1px solid var(--line);border-radius:6px}
svg text{fill:var(--faint);font-family:inherit}.tick,.label,.chart .note{font-size:11.5px}
svg .name{paint-order:stroke;stroke:var(--bg);stroke-width:.35em;stroke-linejoin:round}
.grid{stroke:var(--line);stroke-width:1}.band0{fill:none}.band1{fill:var(--line);opacity:.45}
polyline,polygon{fill:none;stroke-linejoin:round}
.chart polyline{stroke-width:1.8}.map polyline,.map polygon,.scale{stroke-width:var(--pen)}
.map polyline.reference{stroke:var(--other);stroke-dasharray:1.2 1.2}
polyline.ego,polygon.ego{stroke:var(--ego)}polyline.actor,polygon.actor{stroke:var(--actor)}
polyline.other,polygon.other{stroke:var(--other)}.scale{stroke:var(--faint)}
polygon.ego{fill:color-mix(in srgb,var(--ego) 30%,transparent)}
polygon.actor{fill:color-mix(in srgb,var(--actor) 30%,transparent)}
polygon.other{fill:color-mix(in srgb,var(--other) 30%,transparent)}
polygon.faint{fill:none;opacity:.4}circle.ego{fill:var(--ego)}circle.actor{fill:var(--actor)}
.key{margin-left:10px;white-space:nowrap}.key::before{content:"";display:inline-block;width:14px;height:3px;
margin-right:5px;vertical-align:middle;background:var(--other)}
.key.ego::before{background:var(--ego)}.key.actor::before{background:var(--actor)}
.key.reference::before{height:0;background:none;border-top:2px dashed var(--other)}
.none{color:var(--faint)}details{margin-top:12px}summary{cursor:pointer;color:var(--faint)}
footer{margin-top:40px;color:var(--faint);font-size:13px}
"""
