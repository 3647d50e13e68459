// SPDX-License-Identifier: BSD-3-Clause
// What was measured, per contestant and question, one value (ns) a round; as a table and as JSON.
#pragma once

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace owngil::bench {

inline double quantile(std::vector<double> values, double q) {
  if (values.empty()) {
    return 0;
  }
  std::sort(values.begin(), values.end());
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(q * last + 0.5)];
}

class Figures {
 public:
  void add(const std::string& contestant, const std::string& question, double value) {
    if (values_.find(question) == values_.end()) {
      questions_.push_back(question);
    }
    auto& of_question = values_[question];
    if (of_question.find(contestant) == of_question.end()) {
      order_[question].push_back(contestant);
    }
    of_question[contestant].push_back(value);
  }

  // Times the floor: the median over the rounds of the ratio within a round, for what disturbs
  // the machine disturbs neighbours in time alike.
  [[nodiscard]] double ratio(const std::string& question, const std::string& contestant) const {
    const auto& floor = values_.at(question).at(order_.at(question).front());
    const auto& own = values_.at(question).at(contestant);
    std::vector<double> ratios;
    for (std::size_t round = 0; round < own.size(); ++round) {
      ratios.push_back(own[round] / floor[round]);
    }
    return quantile(ratios, 0.5);
  }

  void print_table(std::FILE* out) const {
    for (const std::string& question : questions_) {
      std::fprintf(out, "%-44s %9s %9s %9s %8s\n", (question + ", ns").c_str(), "median", "best",
                   "worst", "x floor");
      for (const std::string& contestant : order_.at(question)) {
        const auto& own = values_.at(question).at(contestant);
        std::fprintf(out, "  %-42s %9.1f %9.1f %9.1f %8.2f\n", contestant.c_str(),
                     quantile(own, 0.5), quantile(own, 0), quantile(own, 1),
                     ratio(question, contestant));
      }
    }
  }

  void print_json(std::FILE* out, const std::string& machine) const {
    std::fprintf(out, "{\"bench\": \"ipc_floor\", \"machine\": {%s}, \"figures\": [",
                 machine.c_str());
    const char* comma = "";
    for (const std::string& question : questions_) {
      for (const std::string& contestant : order_.at(question)) {
        std::fprintf(out, "%s\n  {\"question\": \"%s\", \"contestant\": \"%s\", \"rounds_ns\": [",
                     comma, question.c_str(), contestant.c_str());
        comma = "";
        for (const double value : values_.at(question).at(contestant)) {
          std::fprintf(out, "%s%.2f", comma, value);
          comma = ", ";
        }
        std::fprintf(out, "]}");
        comma = ",";
      }
    }
    std::fprintf(out, "\n]}\n");
  }

 private:
  std::vector<std::string> questions_;
  std::map<std::string, std::vector<std::string>> order_;  // of the contestants; first: the floor
  std::map<std::string, std::map<std::string, std::vector<double>>> values_;
};

}  // namespace owngil::bench
