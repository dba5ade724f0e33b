# Draws the ratios of a run. Given: data (a file of label, ratio, target), rows, picture, machine.
set terminal svg size 1240, 130 + 22 * rows font "sans-serif,12" background "white"
set output picture
set label "Time of ours / time of the reference, medians of one run" at screen 0.5, screen 0.985 center noenhanced
set label machine at screen 0.5, screen 0.96 center font ",10" noenhanced
set tmargin 4
set datafile separator "\t"
set yrange [rows - 0.4:-0.6]
set xrange [0:1.6]
set xtics 0.2
set ytics scale 0 noenhanced
set grid xtics lc rgb "#dddddd"
set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb "#888888" dt 2
set style fill solid 0.7 noborder
set key at screen 0.99, screen 0.985 vertical
set lmargin 92
set rmargin 6
shown(ratio) = ratio > 1.45 ? 1.45 : ratio
plot data using (shown($2) / 2):0:(shown($2) / 2):(0.32):ytic(1) with boxxyerror lc rgb "#4477aa" title "ours", \
     data using 3:0:(0):(0.4) with boxxyerror lc rgb "#cc3311" fs empty border lc rgb "#cc3311" title "target", \
     data using (shown($2)):0:(sprintf(" %.2f", $2)) with labels left font ",10" notitle
