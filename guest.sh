tree=/tmp/wt/exp; bin=$tree/build/bin
serve() { "$@" >/tmp/server.log 2>&1 & server=$!; until rdma resource show cm_id | grep -q LISTEN; do sleep 0.1; done; }
pt() { serve ib_write_bw -R -F -s 2097152 -n 64 -t 8 --use_hugepages; echo "perftest $(ib_write_bw -R -F -s 2097152 -n 64 -t 8 --use_hugepages --report_gbits $EMBAR_LAB_ADDR 2>&1 | awk '$1 == 2097152 {print $4 * 125}')"; wait $server; }
for r in 1 2 3; do
 pt
 $bin/embar-perf -q -c $tree/config/rxe.yaml --transport rdma --address $EMBAR_LAB_ADDR --checksum none,crc32c --in-flight 4,8 --size 2097084 --duration 2
done
$bin/embar-perf -q -c $tree/config/rxe.yaml --transport rdma --address $EMBAR_LAB_ADDR --latency --set rdma.completion=poll --set progress=poll --duration 2
