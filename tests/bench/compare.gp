# The ratios of compare.sh as bars, each with a stroke where it ought to reach. Wants `rows`, and
# compare.tsv in the current folder: place, ratio, target (0: none), met, label.
set encoding utf8
set datafile separator "\t"
set title "Embar beside its peers in the same run\n{/*0.75 median ratio; the stroke is what is asked for}"
set xlabel "times the peer (for latency and idle less is better)"
set logscale x 2
set xrange [0.125:*]
set yrange [rows - 0.4:-0.6]
set format x "%g"
set grid xtics linetype 1 linewidth 1 linecolor rgb "#dddddd"
set border 3
set tics nomirror
set key off
set style fill solid 0.85 noborder
set arrow from 1, graph 0 to 1, graph 1 nohead linewidth 1.5 linecolor rgb "#888888"
colour(met, target) = target == 0 ? 0x7f7f7f : met > 0.5 ? 0x009e73 : 0xd55e00
set terminal svg size 1100, 140 + 30 * rows font "sans-serif,14" background "white"
set output "compare.svg"
plot "compare.tsv" using 2:1:(0.125):2:($1 - 0.35):($1 + 0.35):(colour($4, $3)):ytic(5) with boxxyerror linecolor rgb variable, \
    "" using ($3 > 0 ? $3 : NaN):($1 - 0.42):(0):(0.84) with vectors nohead linewidth 3 linecolor rgb "#222222", \
    "" using ($2 > $3 ? $2 : $3):1:(sprintf("%.3g", $2)) with labels left offset 0.6,0
set terminal pngcairo size 1300, 170 + 34 * rows font "sans,13"
set output "compare.png"
replot
