# From the single runs of compare.sh to the rows of its table. Input: the runs; $facts, $missing, $rows.
def median: sort | if length == 0 then null
    elif length % 2 == 1 then .[length / 2 | floor]
    else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def digits: if . == null then null else . * 1000 | round / 1000 end;

. as $runs
| def figures($case; $figure): [$runs[] | select(.case == $case) | .[$figure] | values];
  # The ratio of each round that has both.
  def ratios($a; $b; $figure): [$runs[] | select(.case == $a) | . as $x
      | first($runs[] | select(.case == $b and .round == $x.round)) as $y
      | $x[$figure] / $y[$figure]];
  def judged($value): if $value == null or .target == null then null
      elif .sense == "most" then $value <= .target else $value >= .target end;
  # The best peer: the highest median, or the lowest where less is better.
  def best: . as $row | [.peers[] | {peer: ., value: (figures(.; $row.figure) | median)} | select(.value)]
      | sort_by(.value) | if $row.sense == "most" then first else last end;
{
    facts: $facts[0],
    missing: $missing[0],
    rows: [$rows[0].rows[]
        | . as $row
        | (figures(.embar; .figure) | median) as $value
        | select($value != null)
        | best as $best
        | select($best != null or (.peers | length) == 0)
        | (if $best then ratios(.embar; $best.peer; .figure) else [] end) as $ratios
        | ($ratios | median) as $ratio
        | {work, unit, figure, target, sense: (.sense // "least"), value: $value, peer: $best.peer,
           peer_value: $best.value, ratio: $ratio, lowest: ($ratios | min), highest: ($ratios | max),
           met: judged(if $best then $ratio else $value end),
           asked: (if .target == null then "-"
               else (if .sense == "most" then "at most " else "" end)
                   + (if .target >= 1000000 then "\(.target / 1000000) M" else "\(.target)" end)
                   + (if $best then " x" else " \(.unit)" end) end)}],
    cases: [$runs | group_by(.case)[] | {case: .[0].case, runs: length,
        gbps: (map(.gbps | values) | median), lowest: (map(.gbps | values) | min),
        highest: (map(.gbps | values) | max), messages_per_s: (map(.messages_per_s | values) | median),
        us: (map(.us | values) | median), sender_cpu: (map(.sender_cpu | values) | median),
        receiver_cpu: (map(.receiver_cpu | values) | median),
        sender_calls: (map(.sender_calls | values) | median),
        receiver_calls: (map(.receiver_calls | values) | median), mib: (map(.mib | values) | median), send_mode: (map(.send_mode | values) | first)}],
    runs: $runs
}
