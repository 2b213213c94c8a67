package dev.nanopool;

import java.time.Duration;

/**
 * What the pool holds and has done. The numbers are read one by one while others change them, so they may disagree by
 * what happened in between; in a quiet pool they are exact.
 *
 * @param name the pool's name
 * @param size how many connections the pool may hold
 * @param active connections leased
 * @param idle connections ready to be leased: open, not leased, and not being reset, validated or closed
 * @param pending callers that wait
 * @param opening connections being opened, or to be opened again after a failure
 * @param leasesGranted leases since the start
 * @param timeouts callers whose deadline passed
 * @param rejected callers refused for another reason: too many waiters, deadlock, database down, pool closed
 * @param opened connections opened
 * @param closed connections closed, for any reason
 * @param lost connections that broke
 * @param leaked how often a lease was told of as leaked, certain or suspected
 * @param reset leases after which something had to be undone on the server
 * @param leftOpen leases that ended in an open transaction, without a commit, on a sound connection
 * @param waitP50 how long callers that got a connection waited, since the pool began, to within 6 %: the median, zero for
 *     those who did not have to wait
 * @param waitP99 the 99th percentile of the wait
 * @param waitP999 the 99.9th percentile of the wait
 * @param waitMax the longest wait
 * @param useP50 how long leases lasted: the median of a sample of one in 64
 * @param useP99 the 99th percentile of that sample
 */
public record PoolStats(
        String name,
        int size,
        int active,
        int idle,
        int pending,
        int opening,
        long leasesGranted,
        long timeouts,
        long rejected,
        long opened,
        long closed,
        long lost,
        long leaked,
        long reset,
        long leftOpen,
        Duration waitP50,
        Duration waitP99,
        Duration waitP999,
        Duration waitMax,
        Duration useP50,
        Duration useP99) {}
