// Threads, futures, atomics, coroutines: libstdc++.
#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <coroutine>
#include <cstdio>
#include <exception>
#include <functional>
#include <future>
#include <latch>
#include <mutex>
#include <numeric>
#include <semaphore>
#include <shared_mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

template <class T> struct Generator {
  struct promise_type {
    T value; std::exception_ptr error;
    Generator get_return_object() { return Generator{std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    std::suspend_always yield_value(T v) { value = std::move(v); return {}; }
    void return_void() {}
    void unhandled_exception() { error = std::current_exception(); }
  };
  std::coroutine_handle<promise_type> handle;
  ~Generator() { if (handle) handle.destroy(); }
  bool next() { handle.resume(); if (handle.promise().error) std::rethrow_exception(handle.promise().error); return !handle.done(); }
};

struct Guard { const char *name; ~Guard() { std::printf("~%s ", name); } };

[[gnu::noinline]] static int check(int n) { if (n > 40) throw std::range_error("too many"); return n * n; }

static Generator<std::string> squares(int from) {
  Guard guard{"generator"};
  for (int i = from;; i += 7) co_yield std::to_string(check(i));
}

static thread_local std::vector<int> own;
static std::atomic<int> constructed;
struct Counted { Counted() { ++constructed; } ~Counted() { constructed += 100; } int value = 5; };
static thread_local Counted counted;

int main() {
  std::mutex mutex; std::shared_mutex shared; std::condition_variable wake; std::once_flag once; std::recursive_mutex again;
  long total = 0; int turn = 0, initialized = 0; std::atomic<long> sum{0};
  std::barrier meeting(6, [&]() noexcept { total = total * 7 % 1000003 + 1; }); std::latch done(6); std::counting_semaphore<3> permits(3);
  {
    std::vector<std::jthread> threads;
    for (int id = 0; id < 6; ++id)
      threads.emplace_back([&, id] {
        std::call_once(once, [&] { ++initialized; });
        for (int i = 0; i < 50; ++i) {
          own.push_back(id * i); sum += counted.value;
          { std::unique_lock lock(mutex); wake.wait(lock, [&] { return turn % 6 == id; }); ++turn; wake.notify_all(); }
          permits.acquire(); { std::shared_lock reading(shared); sum.fetch_add(1); } permits.release();
          if (i % 10 == 0) { { std::scoped_lock both(shared, again); std::lock_guard twice(again); ++sum; } meeting.arrive_and_wait(); }
        }
        sum += std::accumulate(own.begin(), own.end(), 0L); done.count_down();
      });
    done.wait();
  }
  std::printf("%ld %d %d %ld %d\n", total, turn, initialized, sum.load(), constructed.load());
  std::vector<std::future<int>> futures;
  for (int i = 0; i < 8; ++i) futures.push_back(std::async(i % 2 ? std::launch::async : std::launch::deferred, [i] { return check(i * 9); }));
  for (auto &future : futures) try { std::printf("%d ", future.get()); } catch (const std::exception &e) { std::printf("%s ", e.what()); }
  std::promise<std::string> promise; auto shared_future = promise.get_future().share();
  std::thread setter([&] { try { throw std::logic_error("in a promise"); } catch (...) { promise.set_exception(std::current_exception()); } }); setter.join();
  try { shared_future.get(); } catch (const std::logic_error &e) { std::printf("%s\n", e.what()); }
  std::packaged_task<int(int, int)> task([](int a, int b) { return a + b; }); auto result = task.get_future(); std::thread(std::move(task), 3, 4).join();
  try { task(1, 2); } catch (const std::future_error &e) { std::printf("%d %s\n", result.get(), e.code().message().c_str()); }
  auto generator = squares(3); int count = 0;
  try { while (generator.next()) { std::printf("%s ", generator.handle.promise().value.c_str()); ++count; } } catch (const std::range_error &e) { std::printf("%s after %d\n", e.what(), count); }
  { auto abandoned = squares(1); abandoned.next(); }
  std::jthread stopping([](std::stop_token token) { while (!token.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1)); });
  std::stop_callback callback(stopping.get_stop_token(), [] { std::puts("asked to stop"); }); stopping.request_stop(); stopping.join();
  std::atomic<int> flag{0}; std::thread waiting([&] { flag.wait(0); flag = 2; flag.notify_one(); }); flag = 1; flag.notify_all(); waiting.join(); std::printf("%d\n", flag.load());
}
